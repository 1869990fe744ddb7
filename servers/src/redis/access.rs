use super::config::Config;
use crate::postgres::percent_encode;

/// Whom a server lets in, apart from its operator, and as whom its URL comes.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    pub(super) password: Option<String>,
    pub(super) users: Vec<User>,
}

/// A user by the access control list.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) password: String,
    pub(super) rules: String,
}

impl Access {
    pub(super) fn configure(&self, config: &mut Config) {
        for user in &self.users {
            let password = format!(">{}", user.password);
            let arguments: Vec<&str> = [&user.name, "on", &password]
                .into_iter()
                .chain(user.rules.split_whitespace())
                .collect();
            config.set("user", &arguments);
        }
        if let Some(password) = &self.password {
            config.set("requirepass", &[password]);
        } else if !self.users.is_empty() && !self.has(DEFAULT) {
            // Otherwise a client that forgets who it is could do everything.
            config.set("user", &[DEFAULT, "off"]);
        }
    }

    /// What stands before the host in the URL.
    pub(super) fn userinfo(&self) -> String {
        let (name, password) = match (self.users.first(), &self.password) {
            (Some(user), _) => (&*user.name, &*user.password),
            (None, Some(password)) => ("", &**password),
            (None, None) => return String::new(),
        };
        format!("{}:{}@", encode(name), encode(password))
    }

    fn has(&self, name: &str) -> bool {
        self.users.iter().any(|user| user.name == name)
    }
}

fn encode(text: &str) -> String {
    // A slash would end the host.
    percent_encode(text).replace('/', "%2F")
}

/// The user of those who do not say who they are.
const DEFAULT: &str = "default";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_comes_as_the_first_user_or_with_the_password_or_as_nobody() {
        let user = |name: &str| User {
            name: name.to_owned(),
            password: "a/b:c@d".to_owned(),
            rules: "+@all".to_owned(),
        };
        let mut access = Access::default();
        assert_eq!(access.userinfo(), "");
        access.password = Some("open sesame".to_owned());
        assert_eq!(access.userinfo(), ":open%20sesame@");
        access.users = vec![user("inbox"), user("audit")];
        assert_eq!(access.userinfo(), "inbox:a%2Fb%3Ac%40d@");
    }

    #[test]
    fn with_users_alone_nobody_comes_without_a_name() {
        let mut access = Access::default();
        let mut config = Config::default();
        access.configure(&mut config);
        assert_eq!(config.text(), "");
        access.users.push(User {
            name: "inbox".to_owned(),
            password: "secret".to_owned(),
            rules: "~inbox:* +@all".to_owned(),
        });
        access.configure(&mut config);
        assert_eq!(
            config.text(),
            "user \"inbox\" \"on\" \">secret\" \"~inbox:*\" \"+@all\"\nuser \"default\" \"off\"\n"
        );
    }
}
