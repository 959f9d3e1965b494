//! The worked example of the crate.

#[path = "../examples/lifecycle.rs"]
#[expect(dead_code, reason = "an example's `main`")]
mod lifecycle;

#[tokio::test(flavor = "multi_thread")]
async fn a_device_goes_its_way_on_the_emulator_without_the_command_line() {
    let log = lifecycle::walk().await.expect("gone");
    let (steps, end) = log.split_at(log.len() - 1);
    assert_eq!(end, ["sensor-1 is refused"]);
    let expected = [
        "upload CA certificate root",
        "prove possession of CA certificate root with the key of root",
        "create enrollment group line-1, enabled",
        "sensor-1 is assigned",
    ];
    assert_eq!(steps[..4], expected);
    let shut_out = &steps[4];
    assert!(
        shut_out.contains("sensor-1") && shut_out.contains("disabled"),
        "{shut_out}"
    );
}
