//! What is wrong is said clearly, and nothing is left half done.
#![cfg(feature = "sqlite")]

mod scene;

use scene::{Scene, orders};

/// Usage errors leave no file behind.
#[test]
fn wrong_usage_is_explained_before_anything_happens() {
    for (args, says) in [
        (&[][..], &["there is no key", "--key FIELDS"][..]),
        (&["--key", ""], &["--key \"\"", "`` has an empty part"]),
        (&["--key", "a,,b"], &["empty part"]),
        (&["--key", "a,a"], &["`a` is chosen twice"]),
        (&["--key", "a", "--window", "0s"], &["--window 0s: it must be 1 second to 10 years"]),
        (&["--key", "a", "--window", "11y"], &["--window 11y: it must be"]),
        (&["--key", "a", "--window", "24"], &["--window 24", "24h"]),
        (&["--key", "a", "--lease", "10ms"], &["--lease 10ms: it must be"]),
        (&["--key", "a", "--workers", "0"], &["--workers 0: there can be 1 to 1024"]),
        (&["--key", "a", "--workers", "many"], &["invalid value 'many'"]),
        (&["--key", "a", "--max-line", "1GB"], &["--max-line 1GB", "KiB"]),
        (&["--key", "a", "--consumer", ""], &["--consumer needs a name"]),
        (&["--key", "a", "--exec", " "], &["--exec needs a command"]),
        (&["--key", "a", "--stdout", "--into", "t"], &["exclude each other"]),
        (&["--key", "a", "--into", "tower_inbox_inbox"], &["begins with tower_inbox"]),
        (&["--key", "a", "--into", "SQLite_x"], &["begins with sqlite_"]),
        (&["--key", "a", "--into", ""], &["empty part"]),
        (&["--key", "a", "--into", "shop.orders"], &["has a schema", "SQLite has no schemas"]),
        (&["--key", "a", "--input", "none.ndjson"], &["could not open the input none.ndjson"]),
        (&["--key", "a", "--input", "."], &["could not open the input .", "is a directory"]),
        (
            &["--key", "a", "--database", "mysql://u:secret@h/d"],
            &["--database mysql://u:***@h/d: there is no such kind of database"],
        ),
        (&["--key", "a", "--database", "tower-inbox.db"], &["write sqlite://FILE"]),
        (&["--key", "a", "--database", "sqlite::memory:"], &["in memory is gone"]),
        (&["--key", "a", "--database", "sqlite://x?mode=up"], &["there are mode=ro"]),
        (&["--key", "a", "--format", "xml"], &["invalid value 'xml'"]),
        (&["--key", "a", "--colour", "red"], &["--colour"]),
    ] {
        let scene = Scene::new();
        let ran = scene.run(&[&["consume"], args].concat());
        ran.failed(2, says);
        assert!(!ran.stderr.contains("secret"), "{}", ran.stderr);
        assert_eq!(ran.stdout, "", "{args:?}");
        let files = std::fs::read_dir(scene.path(".")).unwrap().count();
        assert_eq!(files, 0, "{args:?}");
    }
}

#[test]
fn a_database_that_cannot_be_opened_is_unreachable() {
    let scene = Scene::new();
    scene
        .run(&["consume", "--key", "a", "--database", "sqlite://no/such/folder/inbox.db"])
        .failed(1, &["could not open no/such/folder/inbox.db", "what to do: check that"]);
    scene.write("text.db", "this is no database, whatever its name says; it is text".repeat(20));
    let ran = scene.run(&["consume", "--key", "a", "--database", "sqlite://text.db"]);
    ran.failed(1, &["text.db", "file is not a database"]);
    scene
        .run(&["consume", "--key", "a", "--database", "sqlite://none.db?mode=rw"])
        .failed(1, &["there is no SQLite file none.db"]);
    assert!(!scene.path("none.db").exists());
}

#[test]
fn a_read_only_file_is_refused_and_not_written() {
    let scene = Scene::new();
    let consume = |url: &str, consumer: &str, count| {
        let args = ["consume", "--key", "order_id", "--database", url, "--consumer", consumer];
        scene.run_with_input(&args, orders(count, 0))
    };
    consume("sqlite://shop.db", "billing", 3).succeeded();
    let before = std::fs::read(scene.path("shop.db")).unwrap();
    for consumer in ["billing", "new"] {
        consume("sqlite://shop.db?mode=ro", consumer, 5)
            .failed(1, &["the database may not be written", "what to do: consuming writes"]);
    }
    assert_eq!(std::fs::read(scene.path("shop.db")).unwrap(), before);

    // A file without tables, which would have to be made.
    scene.sql("plain.db", "create table something (x)");
    consume("sqlite://plain.db?mode=ro", "billing", 5)
        .failed(1, &["the database may not be written"]);
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let scene = Scene::new();
    let consume = ["consume", "--key", "order_id"];
    scene.run_with_input(&consume, orders(3, 0)).succeeded();
    scene.sql(
        "tower-inbox.db",
        "insert into tower_inbox_migrations (version, description, success, checksum,
                                             execution_time)
         values (99, 'of the future', true, x'00', 0)",
    );
    for args in [&consume[..], &["migrate"], &["inbox", "purge"]] {
        scene.run(args).failed(1, &["version 99", "newer release", "what to do: use the release"]);
    }
    let status = scene.run(&["status"]).succeeded();
    assert!(status.stdout.contains("99, made by a newer release"), "{status:?}");
    assert_eq!(scene.messages("messages").len(), 3);
}

#[test]
fn a_table_of_another_shape_is_refused_before_anything_is_read() {
    let scene = Scene::new();
    for (create, says) in [
        ("create table t (id integer primary key, message text)", "no column inbox_key"),
        ("create table t (inbox_key text, message blob)", "its column message is blob, not text"),
        (
            "create table t (inbox_key text, message text, total int not null)",
            "total needs a value",
        ),
        ("create view t as select 'a' as inbox_key, 'b' as message", "it is a view"),
    ] {
        scene.sql("tower-inbox.db", create);
        let consume = ["consume", "--key", "order_id", "--into", "t"];
        scene
            .run_with_input(&consume, orders(3, 0) + "nonsense\n")
            .failed(1, &["messages do not fit into the table t", says, "what to do: name another"]);
        let claims = scene.sql("tower-inbox.db", "select count(*) || '' from tower_inbox_inbox");
        assert_eq!(claims, ["0"]);
        assert!(!scene.path("stdin.dead.ndjson").exists());
        let kind = if create.contains("view") { "view" } else { "table" };
        scene.sql("tower-inbox.db", &format!("drop {kind} t"));
    }
}

#[test]
fn a_consumer_whose_keys_were_made_otherwise_is_refused() {
    let scene = Scene::new();
    let consume = ["consume", "--key", "order_id"];
    scene.run_with_input(&consume, orders(1, 0)).succeeded();
    scene.sql("tower-inbox.db", "update tower_inbox_meta set secret = randomblob(16)");
    scene
        .run_with_input(&consume, orders(1, 0))
        .failed(1, &["keys made in another way", "what to do: give another name with --consumer"]);
}

#[test]
#[cfg(not(feature = "postgres"))]
fn a_database_that_was_not_built_in_is_named() {
    let scene = Scene::new();
    scene.run(&["status", "--database", "postgres://u:secret@h/d"]).failed(
        2,
        &["postgres://u:***@h/d", "was built without PostgreSQL", "--features postgres"],
    );
}
