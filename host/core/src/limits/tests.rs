use super::*;

#[test]
fn fuel_lasts_as_long_as_the_time_limit() {
    let Limits { fuel, timeout_ms, .. } = Limits::DEFAULT;
    assert_eq!(fuel, Fuel::Units(Limits::FUEL_PER_SECOND * timeout_ms / 1000));
}

#[test]
fn absent_limits_come_from_the_plugin_then_the_host() {
    let plugin = LimitsRequest { timeout_ms: Some(5), ..Default::default() };
    let asked = LimitsRequest { output_bytes: Some(7), ..Default::default() };
    let limits = LimitPolicy::default().complete(asked, plugin, 0).expect("valid");
    assert_eq!(limits, Limits { timeout_ms: 5, output_bytes: 7, ..Limits::DEFAULT });
}

#[test]
fn every_value_above_its_ceiling_is_named_with_both_values() {
    let ceiling = Limits { fuel: Fuel::Units(10), memory_bytes: 256 << 20, ..Limits::CEILING };
    let policy = LimitPolicy { ceiling, ..LimitPolicy::default() };
    let asked = LimitsRequest {
        fuel: Some(Fuel::Unlimited),
        memory_bytes: Some(512 << 20),
        timeout_ms: Some(0),
        ..Default::default()
    };
    let faults = policy.complete(asked, LimitsRequest::default(), 0).expect_err("too much");
    let messages: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        messages,
        [
            "fuel limit unlimited (--fuel) exceeds the operator's maximum 10, which \
             `ceilings.fuel` in the host's configuration sets",
            "time limit must be at least 1",
            "memory limit 512 MiB (--memory) exceeds the operator's maximum 256 MiB, which \
             `ceilings.memory_bytes` in the host's configuration sets",
        ]
    );
}

#[test]
fn a_plugin_that_starts_above_the_default_memory_gets_what_it_starts_with() {
    let policy = LimitPolicy::default();
    let none = LimitsRequest::default();
    assert_eq!(policy.complete(none, none, 100 << 20).expect("valid").memory_bytes, 100 << 20);
    let asked = LimitsRequest { memory_bytes: Some(1 << 20), ..none };
    assert!(policy.complete(asked, none, 2 << 20).is_err());
}

#[test]
fn fuel_is_a_number_or_the_word_unlimited() {
    let parse = serde_json::from_str::<Fuel>;
    assert_eq!(parse("5").expect("valid"), Fuel::Units(5));
    assert_eq!(parse("\"unlimited\"").expect("valid"), Fuel::Unlimited);
    for bad in ["\"5\"", "-1", "1.5", "null", "true"] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}
