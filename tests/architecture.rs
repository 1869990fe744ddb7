//! Holds the imports of every room against the table in `ARCHITECTURE.md`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

#[test]
fn imports_point_down() {
    let rooms = rooms();
    let mut wrong = Vec::new();
    for (room, (floor, allowed)) in &rooms {
        for import in allowed {
            let (below, _) = rooms.get(import).unwrap_or_else(|| panic!("no room `{import}`"));
            let pure = room == "hook" || room == "key";
            assert!(below < floor || (pure && import == "error"), "`{room}` above `{import}`?");
        }
        for file in sources(&root().join("src").join(room)) {
            for import in imports(&fs::read_to_string(&file).unwrap()) {
                if import != *room && rooms.contains_key(&import) && !allowed.contains(&import) {
                    wrong.push(format!("{} imports `{import}`", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "against ARCHITECTURE.md:\n{}", wrong.join("\n"));
}

#[test]
fn every_room_is_drawn() {
    let drawn: BTreeSet<_> = rooms().into_keys().collect();
    let built = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| name != "docs")
        .collect();
    assert_eq!(drawn, built);
}

#[test]
fn sqlx_stays_in_its_folders() {
    for file in sources(&root().join("src")) {
        let path = file.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        let allowed = ["schema/", "sql/", "inbox/store/", "events/backend/postgres/"]
            .iter()
            .any(|folder| path.starts_with(&format!("src/{folder}")));
        let text = code(&fs::read_to_string(&file).unwrap());
        assert!(allowed || !text.contains("sqlx::"), "{path} uses sqlx");
    }
}

/// A pooler in transaction mode may give the session to somebody else between the two messages that a
/// query with bound values takes; see `src/sql/statement.rs`.
#[test]
fn what_is_sent_outside_of_a_transaction_is_one_message() {
    let files = ["inbox/store/postgres", "events/backend/postgres", "sql"]
        .iter()
        .flat_map(|folder| sources(&root().join("src").join(folder)))
        .chain([root().join("src/schema/postgres.rs")]);
    let mut pooled = 0;
    for file in files {
        let text = code(&fs::read_to_string(&file).unwrap());
        // To the end of a statement, or of the function whose value it is.
        for statement in text.split(';').flat_map(|text| text.split("\n}\n")) {
            let on_pool = statement.contains("pool)\n") || statement.contains("pool).");
            pooled += usize::from(on_pool);
            assert!(
                !on_pool || !statement.contains("sqlx::query"),
                "{} sends a query with bound values to the pool:{statement}",
                file.display()
            );
        }
    }
    assert!(pooled > 5, "the pool is not found in use");
}

#[test]
fn imports_are_found_in_code_and_not_in_comments() {
    let text = "use crate::{\n    key::Dedup,\n    hook::{A, error::B},\n};\n// crate::inbox\nfn f() { crate::lines::g() }";
    let expected = ["hook", "key", "lines"].map(String::from);
    assert_eq!(imports(text), BTreeSet::from(expected));
}

/// Name, floor and permitted imports of each room, from the table.
fn rooms() -> BTreeMap<String, (u8, BTreeSet<String>)> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let rooms: BTreeMap<_, _> = text
        .lines()
        .filter_map(|line| {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let [_, floor, room, _, imports, _] = cells[..] else { return None };
            let names = imports.split('`').skip(1).step_by(2).map(String::from).collect();
            // What follows the name says that it is private.
            Some((room.split('`').nth(1)?.to_owned(), (floor.parse().ok()?, names)))
        })
        .collect();
    assert!(rooms.len() >= 7, "the table was not read: {rooms:?}");
    rooms
}

/// The rooms that a file names after `crate::`, alone or in braces.
fn imports(text: &str) -> BTreeSet<String> {
    let text = code(text);
    let mut found = BTreeSet::new();
    for (at, prefix) in text.match_indices("crate::") {
        let rest = &text[at + prefix.len()..];
        match rest.strip_prefix('{') {
            None => found.extend(first_name(rest)),
            Some(list) => {
                let mut depth = 1;
                let mut start = true;
                for (at, c) in list.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 1 => start = true,
                        c if start && (c.is_alphabetic() || c == '_') => {
                            found.extend(first_name(&list[at..]));
                            start = false;
                        }
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            }
        }
    }
    found
}

fn first_name(text: &str) -> Option<String> {
    let name: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// Without comment lines.
fn code(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
