//! What the derive says when it cannot do what was asked, word for word.
//!
//! A new message gets a pair in `tests/ui`; `TRYBUILD=overwrite` writes the second half. The
//! compiler's own words stand beside ours, so the files belong to the toolchain of `rust-version`.
#![cfg(feature = "derive")]

#[test]
fn messages_point_at_the_token_and_say_what_to_write() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
    cases.pass("tests/ui/pass/*.rs");
}
