//! Workers of apalis are killed inside their handlers.

mod support;

use support::{Example, wait_until};

#[test]
fn each_order_is_booked_once_although_workers_are_killed() {
    let example = Example::new(env!("CARGO_BIN_EXE_apalis"), 300).set("APALIS_HEARTBEAT", "1");
    example.publish();

    let mut consumers = [example.consumer(), example.consumer()];
    for kill in 0..6 {
        consumers[kill % 2].kill_inside_a_handler();
    }

    example.wait_until_all_are_booked();
    // The last duplicates too.
    wait_until("all jobs are done", || {
        example.psql("select count(*) from apalis.jobs where status <> 'Done'").unwrap() == "0"
    });
    example.assert_each_booked_once(&consumers);
}
