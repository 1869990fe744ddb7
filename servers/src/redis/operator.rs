use std::{
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

use super::config::Config;

/// The user through whom this crate, replicas and sentinels come, whoever else is let in.
pub(super) const NAME: &str = "tower-inbox-operator";

/// The password of the user, the same on all servers of this process.
///
/// A sentinel or a replica of another process may still look for a server on a port that is ours by
/// now; with a fixed password it would get in and make our server follow another.
pub(super) fn password() -> &'static str {
    static PASSWORD: LazyLock<String> =
        LazyLock::new(|| format!("{:016x}", RandomState::new().hash_one(NAME)));
    &PASSWORD
}

/// Lets the user in, and lets this server come to its master as the same user.
pub(super) fn configure(config: &mut Config) {
    let password = password();
    config.set("user", &[NAME, "on", &format!(">{password}"), "~*", "&*", "+@all"]);
    config.set("masteruser", &[NAME]);
    config.set("masterauth", &[password]);
}
