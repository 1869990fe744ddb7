//! `consume` and the other verbs on PostgreSQL.
//!
//! Needs a server whose role may create databases; `./scripts/test` starts one.
#![cfg(feature = "postgres")]

mod scene;

use std::{
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    thread::sleep,
    time::Duration,
};

use scene::{Chance, Ran, Report, Scene, block_on, distinct, orders, wait_for};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use tower_inbox::schema::VERSION;

#[test]
fn unmigrated_tables_are_named_and_migrated_when_asked() {
    let base = Base::new();
    base.consume(&[], orders(2, 0))
        .failed(1, &["the inbox tables are not there", "what to do: run `tower-inbox migrate`"]);
    assert_eq!(base.sql("select nspname::text from pg_namespace where nspname ~ 'tower'"), NONE);
    assert_eq!(base.sql("select to_regclass('messages') is null or null"), ["t"]);

    assert_eq!(base.consume(&["--migrate"], orders(2, 0)).succeeded().report().handled, 2);
    assert_eq!(base.consume(&[], orders(2, 0)).succeeded().report().duplicates, 2);
}

#[test]
fn messages_go_into_the_table_once() {
    let base = Base::migrated();
    let stream = orders(500, 50);
    let first = base.consume(&[], &stream).succeeded().report();
    assert_eq!((first.handled, first.duplicates), (500, 50));
    let second = base.consume(&["--workers", "8"], &stream).succeeded().report();
    assert_eq!((second.handled, second.duplicates), (0, 550));
    assert_eq!(distinct(&base.messages("messages")).len(), 500);
    assert_eq!(base.messages("messages").len(), 500);

    let many = ["--workers", "8", "--consumer", "many", "--into", "public.Many \"orders\""];
    assert_eq!(base.consume(&many, &stream).succeeded().report().handled, 500);
    assert_eq!(base.messages("\"Many \"\"orders\"\"\"").len(), 500);
    assert_eq!(
        base.sql(
            "select count(*)::text from messages m
             join tower_inbox.inbox i on i.key = m.inbox_key and i.consumer = 1"
        ),
        ["500"]
    );
}

#[test]
fn the_text_of_a_line_is_kept_as_it_came() {
    let base = Base::migrated();
    let line = "{\"order_id\" : 1,\t\"order_id\":2, \"nul\":\"\\u0000\", \"n\":1.50e30}";
    base.consume(&[], format!("{line}\r\n")).succeeded();
    assert_eq!(base.messages("messages"), [line]);
}

#[test]
fn a_message_that_the_table_refuses_fails_alone() {
    let base = Base::migrated();
    base.sql(
        "create table small (
            inbox_key uuid not null,
            message json not null check ((message ->> 'cents')::int < 500),
            at date default now()
         )",
    );
    let into = ["--into", "small", "--workers", "4"];
    let ran = base.consume(&into, orders(100, 0)).succeeded();
    assert_eq!((ran.report().handled, ran.report().failed), (72, 28));
    assert!(ran.stderr.contains("line 73 failed: the table refused it"), "{}", ran.stderr);

    base.sql("alter table small drop constraint small_message_check");
    let again = base.consume(&into, orders(100, 0)).succeeded().report();
    assert_eq!((again.handled, again.duplicates), (28, 72));

    // A constraint that speaks up at the commit only.
    base.sql("create table known (inbox_key uuid primary key)");
    base.sql(
        "create table later (
            inbox_key uuid references known deferrable initially deferred,
            message json
         )",
    );
    let later = base.consume(&["--into", "later", "--consumer", "later"], orders(2, 0));
    let later = later.succeeded();
    assert_eq!(later.report().failed, 2);
    assert!(later.stderr.contains("line 1 failed: the table refused it"), "{}", later.stderr);
}

#[test]
fn a_table_of_another_shape_is_refused() {
    let base = Base::migrated();
    for (create, says) in [
        ("create table t (id int, message json)", "no column inbox_key of type uuid"),
        ("create table t (inbox_key uuid, message jsonb)", "message is jsonb, not json"),
        ("create table t (inbox_key uuid, message json, n int not null)", "n needs a value"),
        ("create view t as select null::uuid as inbox_key, null::json as message", "no table"),
    ] {
        base.sql(create);
        base.consume(&["--into", "t"], orders(1, 0))
            .failed(1, &["messages do not fit into the table t", says]);
        assert_eq!(base.sql("select 'claim' from tower_inbox.inbox"), NONE);
        base.sql(if create.contains("view") { "drop view t" } else { "drop table t" });
    }
    base.consume(&["--into", "none.t"], orders(1, 0))
        .failed(1, &["could not make the table none.t", "schema \"none\" does not exist"]);
    base.consume(&["--into", &"x".repeat(64)], orders(1, 0)).failed(2, &["longer than 63 bytes"]);
    base.consume(&["--into", "tower_inbox.inbox"], orders(1, 0))
        .failed(2, &["begins with tower_inbox"]);
}

#[test]
fn commands_get_each_message_once() {
    let base = Base::migrated();
    let exec = ["--exec", "cat >> out", "--workers", "4"];
    let report = base.consume(&exec, orders(60, 6)).succeeded().report();
    assert_eq!((report.handled, report.duplicates), (60, 6));
    let lines: Vec<String> = base.scene.read("out").lines().map(str::to_owned).collect();
    assert_eq!((lines.len(), distinct(&lines).len()), (60, 60));

    let failing = ["--exec", "exit 7", "--consumer", "failing"];
    let ran = base.consume(&failing, orders(2, 0)).succeeded();
    assert_eq!(ran.report().failed, 2);
    assert!(ran.stderr.contains("exit status: 7"), "{}", ran.stderr);
}

#[test]
fn a_slow_command_keeps_its_lease() {
    let base = Base::migrated();
    let slow = ["--exec", "cat >> out; sleep 3", "--lease", "1s"];
    let mut first = base.spawn(&slow, Stdio::piped());
    std::io::Write::write_all(&mut first.stdin.take().unwrap(), orders(1, 0).as_bytes()).unwrap();
    wait_for(|| base.scene.path("out").exists());
    let other = base.consume(&["--exec", "cat >> out", "--in-flight-wait", "20s"], orders(1, 0));
    assert_eq!(other.succeeded().report().duplicates, 1);
    assert!(first.wait().unwrap().success());
    assert_eq!(base.scene.read("out").lines().count(), 1);
}

#[test]
fn printed_lines_are_not_printed_again() {
    let base = Base::migrated();
    let stream = orders(20, 0);
    let ran = base.consume(&["--stdout"], &stream).succeeded();
    assert_eq!(ran.stdout, stream);
    assert_eq!(Report::parse(&ran.stderr, &ran).handled, 20);
    assert_eq!(base.consume(&["--stdout"], &stream).succeeded().stdout, "");
}

#[test]
fn two_runs_side_by_side_handle_each_message_once() {
    let base = Base::migrated();
    base.scene.write("in", orders(1500, 150));
    let args = ["--input", "in", "--workers", "3", "--dead-letters"];
    // Both make the table.
    let one = base.spawn(&[&args[..], &["dead1"]].concat(), Stdio::null());
    let two = base.spawn(&[&args[..], &["dead2"]].concat(), Stdio::null());
    let reports = [one, two].map(|child| {
        let ran: Ran = child.wait_with_output().unwrap().into();
        ran.succeeded().report()
    });
    assert_eq!(reports[0].handled + reports[1].handled, 1500, "{reports:?}");
    assert_eq!(reports[0].duplicates + reports[1].duplicates, 1800, "{reports:?}");
    let messages = base.messages("messages");
    assert_eq!((messages.len(), distinct(&messages).len()), (1500, 1500));
}

#[test]
fn killed_and_started_again_each_message_is_in_the_table_once() {
    let base = Base::migrated();
    base.scene.write("in", orders(2000, 200));
    let args = ["--input", "in", "--workers", "2"];
    let mut chance = Chance::new(7);
    let mut killed = 0;
    for n in 1..=8 {
        let mut child = base.spawn(&args, Stdio::null());
        sleep(Duration::from_millis(20 + chance.below(50 * n)));
        child.kill().unwrap();
        killed += u32::from(!child.wait().unwrap().success());
    }
    assert!(killed >= 2, "only {killed} runs were killed on the way");
    let last = base.consume(&args, "").succeeded().report();
    assert_eq!((last.delivered, last.handled + last.duplicates), (2200, 2200));
    let messages = base.messages("messages");
    assert_eq!((messages.len(), distinct(&messages).len()), (2000, 2000));
}

#[test]
fn a_server_that_goes_away_stops_the_run() {
    let base = Base::migrated();
    base.scene.write("in", orders(200_000, 0));
    let child = base.spawn(&["--input", "in", "--workers", "2"], Stdio::null());
    wait_for(|| {
        base.sql("select 'there' where to_regclass('messages') is not null") == ["there"]
            && !base.sql("select 'one' from messages limit 1").is_empty()
    });
    base.sql(
        "select pg_terminate_backend(pid)::text from pg_stat_activity
         where datname = current_database() and application_name = 'tower-inbox'",
    );
    let ran: Ran = child.wait_with_output().unwrap().into();
    ran.failed(1, &["the database cannot be reached", "run the same command again"]);
    let done = ran.report();
    assert!((1..200_000).contains(&done.handled), "{done:?}");
    // At most the commits whose answer was cut off are not in the report.
    let messages = base.messages("messages").len() as u64;
    assert!((done.handled..=done.handled + 2).contains(&messages), "{done:?} {messages}");

    let some: String =
        orders(200_000, 0).split_inclusive('\n').take(messages as usize + 50).collect();
    let next = base.consume(&[], some).succeeded().report();
    assert_eq!((next.handled, next.duplicates), (50, messages));
}

#[test]
fn a_server_that_is_not_there_is_unreachable() {
    let scene = Scene::new();
    let consume = ["consume", "--key", "order_id", "--database"];
    let run = |url: &str| scene.run(&[&consume[..], &[url]].concat());
    let ran = run("postgres://u:secret@127.0.0.1:1/d");
    ran.failed(
        1,
        &[
            "could not connect to postgres://u:***@127.0.0.1:1/d",
            "because: ",
            "Connection refused",
            "what to do: check that the server runs",
        ],
    );
    assert!(!ran.stderr.contains("secret"));
    run("postgres://u:sec/ret@h:x/d").failed(2, &["u:***@h:x/d: this URL cannot be read", "%40"]);

    let base = Base::new();
    let other = base.url.replace(&base.name, "no_such_database");
    run(&other).failed(1, &["could not connect to", "\"no_such_database\" does not exist"]);
    let separator = if base.url.contains('?') { '&' } else { '?' };
    let says = if cfg!(feature = "tls") { "TLS" } else { "--features tls" };
    run(&format!("{}{separator}sslmode=require", base.url))
        .failed(1, &["could not connect to", says]);
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let base = Base::migrated();
    base.sql(
        "insert into tower_inbox.migrations (version, description, success, checksum,
                                             execution_time)
         values (99, 'of the future', true, '', 0)",
    );
    for more in [&[][..], &["--migrate"]] {
        base.consume(more, orders(1, 0))
            .failed(1, &["version 99", "newer release", "what to do: use the release"]);
    }
    base.run(&["migrate"]).failed(1, &["version 99", "newer release"]);
    let status = base.run(&["status"]).succeeded();
    assert!(status.stdout.contains("99, made by a newer release"), "{status:?}");
}

#[test]
fn a_database_that_may_not_be_written_is_refused() {
    let base = Base::migrated();
    base.consume(&[], orders(1, 0)).succeeded();
    base.sql(&format!("alter database {} set default_transaction_read_only = on", base.name));
    base.consume(&[], orders(2, 0)).failed(1, &["the database may not be written"]);
}

#[test]
fn migrate_goes_up_and_down_and_prints() {
    let base = Base::new();
    let migrate = |more: &[&str]| base.run(&[&["migrate", "--format", "json"], more].concat());
    let json = |ran: Ran| serde_json::from_str::<Value>(&ran.succeeded().stdout).unwrap();
    assert_eq!(json(migrate(&[]))["after"], VERSION);
    assert_eq!(json(migrate(&[]))["before"], VERSION);
    migrate(&["--down", "0"]).failed(2, &["add --yes"]);
    assert_eq!(json(migrate(&["--down", "0", "--yes"]))["after"], Value::Null);

    let script = base.scene.run(&["migrate", "--print", "--database", "postgres://"]);
    let script = script.succeeded().stdout;
    base.sql(&script);
    assert_eq!(json(migrate(&[]))["before"], VERSION);
    assert_eq!(base.consume(&[], orders(3, 0)).succeeded().report().handled, 3);
    let script = migrate(&["--print", "--down", "0"]).succeeded().stdout;
    base.sql(&script);
    assert_eq!(base.sql("select nspname::text from pg_namespace where nspname ~ 'tower'"), NONE);
}

#[test]
fn status_and_purge_look_at_the_claims() {
    let base = Base::migrated();
    base.consume(&["--window", "1s", "--consumer", "short"], orders(4, 0)).succeeded();
    base.consume(&["--consumer", "billing"], orders(3, 0)).succeeded();
    sleep(Duration::from_millis(3100));
    let json = |args: &[&str]| {
        let ran = base.run(&[args, &["--format", "json"]].concat());
        serde_json::from_str::<Value>(&ran.succeeded().stdout).unwrap()
    };
    assert_eq!(
        json(&["status"])["consumers"],
        json!([
            {
                "name": "billing", "window_seconds": 86400, "live": 3, "in_flight": 0,
                "expired": 0, "dead_letters": 0, "requeued": 0,
            },
            {
                "name": "short", "window_seconds": 1, "live": 0, "in_flight": 0, "expired": 4,
                "dead_letters": 0, "requeued": 0,
            },
        ])
    );
    assert_eq!(
        json(&["inbox", "purge", "--dry-run"]),
        json!({"expired": 4, "removed": 0, "dry_run": true})
    );
    assert_eq!(json(&["inbox", "purge"])["removed"], 4);
    assert_eq!(json(&["inbox", "purge"])["removed"], 0);
}

#[test]
fn what_failed_too_often_is_requeued_and_handled() {
    let base = Base::migrated();
    base.sql("create table small (inbox_key uuid, message json check ((message ->> 'cents')::int < 500))");
    let consume = |more: &[&str]| {
        let args = [&["--into", "small", "--max-attempts", "2", "--workers", "4"], more].concat();
        base.consume(&args, orders(100, 0)).succeeded().report()
    };
    let first = consume(&[]);
    assert_eq!((first.handled, first.failed, first.dead_lettered), (72, 28, 0));
    let second = consume(&[]);
    assert_eq!((second.duplicates, second.failed, second.dead_lettered), (72, 0, 28));
    let third = consume(&[]);
    assert_eq!((third.duplicates, third.dead_lettered), (72, 28));

    let json = |args: &[&str]| base.run(&[args, &["--format", "json"]].concat()).json();
    let letters = json(&["dead", "list", "--all"]);
    assert_eq!(letters["letters"].as_array().unwrap().len(), 28);
    assert!(letters["letters"][0]["reason"].as_str().unwrap().contains("small_message_check"));
    let key = letters["letters"][0]["key"].as_str().unwrap();
    let explained = json(&["inbox", "explain", "--key-value", key]);
    assert_eq!(
        (&explained["state"], &explained["next_delivery"]),
        (&json!("dead"), &json!("dead_letter"))
    );
    base.run(&["inbox", "forget", "--key-value", key])
        .failed(1, &["is a dead letter", "dead requeue"]);

    base.sql("alter table small drop constraint small_message_check");
    assert_eq!(json(&["dead", "requeue", "--all"])["requeued"], 28);
    let done = consume(&[]);
    assert_eq!((done.redelivered, done.handled, done.duplicates), (28, 28, 100));
    assert_eq!(base.sql("select count(*)::text from small"), ["100"]);
    assert_eq!(base.run(&["dead", "list"]).succeeded().stdout, "there are no dead letters\n");
    assert_eq!(json(&["inbox", "audit", "--all"])["entries"].as_array().unwrap().len(), 28);
}

#[test]
fn a_transaction_at_work_is_told_as_such() {
    let base = Base::migrated();
    base.sql("create table slow (inbox_key uuid, message json, at float8 default extract(epoch from clock_timestamp()))");
    // The insert waits for a lock that another session has.
    let holder = std::thread::spawn({
        let url = base.url.clone();
        move || {
            execute(
                &url,
                "begin; lock table slow in exclusive mode; select pg_sleep(8)::text; commit",
            )
        }
    });
    wait_for(|| {
        !base
            .sql("select 'held' from pg_locks where relation = 'slow'::regclass and granted")
            .is_empty()
    });
    let mut run = base.spawn(&["--into", "slow"], Stdio::piped());
    std::io::Write::write_all(&mut run.stdin.take().unwrap(), scene::order(1).as_bytes()).unwrap();
    wait_for(|| {
        !base
            .sql("select 'waits' from pg_locks where relation = 'slow'::regclass and not granted")
            .is_empty()
    });

    scene::Scene::write(&base.scene, "message", scene::order(1));
    let subject = ["--message", "message", "--key", "order_id"];
    let explained = base.run(&[&["inbox", "explain", "--format", "json"][..], &subject].concat());
    assert_eq!(explained.json()["state"], "in_transaction");
    let forget = [&["inbox", "forget", "--force"][..], &subject].concat();
    base.run(&forget).failed(1, &["a transaction is at work", "nothing was done"]);
    holder.join().unwrap();
    run.wait().unwrap();
    assert!(base.run(&forget).succeeded().stdout.contains("forgotten; it was handled"));
    assert_eq!(base.consume(&["--into", "slow"], scene::order(1)).succeeded().report().handled, 1);
}

/// A database of its own, gone at the end.
struct Base {
    scene: Scene,
    server: String,
    url: String,
    name: String,
}

impl Base {
    fn new() -> Self {
        let server = std::env::var("DATABASE_URL").unwrap_or_else(|_| {
            panic!("DATABASE_URL is not set; ./scripts/test starts a PostgreSQL server and sets it")
        });
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tower_inbox_cli_{}_{count}", std::process::id());
        execute(&server, &format!("create database {name}"));

        let (address, query) = match server.split_once('?') {
            Some((address, query)) => (address, format!("?{query}")),
            None => (&*server, String::new()),
        };
        let host = address.find("://").unwrap() + 3;
        let end = address[host..].find('/').map_or(address.len(), |at| host + at);
        let url = format!("{}/{name}{query}", &address[..end]);
        Self { scene: Scene::new(), server, url, name }
    }

    fn migrated() -> Self {
        let base = Self::new();
        base.run(&["migrate"]).succeeded();
        base
    }

    fn run(&self, args: &[&str]) -> Ran {
        self.scene.run(&[args, &["--database", &self.url]].concat())
    }

    fn consume(&self, more: &[&str], input: impl AsRef<[u8]>) -> Ran {
        self.scene.run_with_input(&[&self.args()[..], more].concat(), input)
    }

    fn spawn(&self, more: &[&str], stdin: Stdio) -> std::process::Child {
        self.scene.spawn(&[&self.args()[..], more].concat(), stdin)
    }

    fn args(&self) -> [&str; 7] {
        ["consume", "--key", "order_id", "--format", "json", "--database", &self.url]
    }

    /// Runs SQL, and gives the first column of one statement as text.
    fn sql(&self, sql: &str) -> Vec<String> {
        execute(&self.url, sql)
    }

    fn messages(&self, table: &str) -> Vec<String> {
        self.sql(&format!("select message::text from {table}"))
    }
}

impl Drop for Base {
    fn drop(&mut self) {
        execute(&self.server, &format!("drop database {} with (force)", self.name));
    }
}

fn execute(url: &str, sql: &str) -> Vec<String> {
    use sqlx::Row;
    block_on(async {
        let mut connection = PgConnection::connect(url).await.unwrap();
        let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let rows = connection.fetch_all(sql).await.unwrap();
        connection.close().await.unwrap();
        rows.iter().map(|row| row.try_get_unchecked(0).unwrap()).collect()
    })
}

const NONE: [&str; 0] = [];
