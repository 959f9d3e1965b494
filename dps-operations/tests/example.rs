//! The worked example of the crate.

#[path = "../examples/apply.rs"]
#[expect(dead_code, reason = "an example's `main`")]
mod apply;

#[tokio::test(flavor = "multi_thread")]
async fn a_declaration_is_applied_to_the_emulator_without_the_command_line() {
    let done = apply::apply().await.expect("applied");
    assert_eq!(
        done,
        [
            "upload CA certificate root",
            "prove possession of CA certificate root with the key of root",
            "create enrollment group line-1, enabled",
        ]
    );
}
