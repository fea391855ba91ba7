use jobwright_core::limits::Limits;

use super::*;

#[test]
fn an_unknown_key_is_an_error() {
    let error = toml::from_str::<Config>("wrokers = 3").expect_err("misspelt").to_string();
    assert!(error.contains("wrokers"), "{error}");
}

#[test]
fn a_file_changes_only_the_settings_that_it_names() {
    let text = "workers = 3\n[limits]\nfuel = \"unlimited\"\n[retention]\ndiscarded = \"2d\"\n";
    let config: Config = toml::from_str(text).unwrap();
    assert_eq!(config.workers.get(), 3);
    assert_eq!(config.retention.discarded, Duration::from_secs(2 * 86_400));
    let limits = config.limit_policy().unwrap().default;
    assert_eq!(limits.fuel, jobwright_core::limits::Fuel::Unlimited);
    assert_eq!(limits.timeout_ms, Limits::DEFAULT.timeout_ms);
}

#[test]
fn an_address_that_other_machines_can_reach_requires_keys() {
    let open = Config { listen: ([0, 0, 0, 0], 1).into(), ..Config::default() };
    assert!(open.check_reach(false).is_err());
    assert!(Config { insecure_no_auth: true, ..open.clone() }.check_reach(false).is_ok());
    assert!(open.check_reach(true).is_ok());
    let loopback = Config { listen: "[::1]:1".parse().unwrap(), ..Config::default() };
    assert!(loopback.check_reach(false).is_ok());
}

#[test]
fn an_address_can_be_a_name() {
    let local = SocketAddr::from(([127, 0, 0, 1], 7878));
    for text in ["127.0.0.1:7878", "localhost:7878"] {
        assert_eq!(resolve(text), Ok(local), "{text}");
        let config: Config = toml::from_str(&format!("listen = \"{text}\"")).unwrap();
        assert_eq!(config.listen, local);
    }
    assert_eq!(resolve("[::1]:1"), Ok("[::1]:1".parse().unwrap()));
    for bad in ["", "localhost", "127.0.0.1", ":x", "127.0.0.1:99999"] {
        let error = resolve(bad).expect_err(bad);
        assert!(error.contains("localhost:7878"), "{error}");
    }
}

#[test]
fn on_a_small_machine_the_memory_budget_is_the_ceiling() {
    let small = Config { memory_budget_bytes: Some(100 << 20), ..Config::default() };
    small.check().unwrap();
    assert_eq!(small.limit_policy().unwrap().ceiling.memory_bytes, 100 << 20);
    let ceilings = LimitsRequest { memory_bytes: Some(200 << 20), ..Default::default() };
    assert!(Config { ceilings, ..small }.check().is_err(), "a configured ceiling is not lowered");
}

#[test]
fn a_default_above_its_ceiling_is_refused() {
    let text = "[limits]\nmemory_bytes = 2000\n[ceilings]\nmemory_bytes = 1000\n";
    let config: Config = toml::from_str(text).unwrap();
    assert!(config.limit_policy().is_err());
}

#[test]
fn stacks_are_bounded_and_deducted_from_the_memory_budget() {
    let budget = Some(1 << 30);
    let default = Config { memory_budget_bytes: budget, ..Config::default() };
    assert_eq!(default.memory_budget(), 1 << 30);
    let deep = Config { stack_bytes: 8 << 20, ..default.clone() };
    assert_eq!(deep.memory_budget(), (1 << 30) - 64 * (8 << 20) + 64 * (512 << 10));
    deep.check().unwrap();
    for stack_bytes in [0, 1 << 10, 65 << 20] {
        let error = Config { stack_bytes, ..default.clone() }.check().unwrap_err().to_string();
        assert!(error.ends_with("is not between 64 KiB and 64 MiB"), "{error}");
    }
}

#[test]
fn stacks_that_leave_too_little_memory_for_an_attempt_are_refused() {
    let default = Config { memory_budget_bytes: Some(1 << 30), ..Config::default() };
    let error =
        Config { stack_bytes: 16 << 20, ..default.clone() }.check().unwrap_err().to_string();
    for part in ["stack_bytes 16 MiB", "64 workers", "1 GiB", "32 MiB remain", "--workers"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let few = Config { workers: NonZeroU32::MIN, reserved_workers: Some(0), ..default };
    Config { stack_bytes: 16 << 20, ..few }.check().unwrap();
}

#[test]
fn some_workers_are_reserved_unless_there_is_one_or_the_setting_is_0() {
    for (workers, setting, reserved) in
        [(1, None, 0), (2, None, 1), (7, None, 1), (64, None, 8), (2, Some(0), 0)]
    {
        let workers = NonZeroU32::new(workers).unwrap();
        let config = Config { workers, reserved_workers: setting, ..Config::default() };
        assert_eq!(config.reserved_workers(), reserved, "of {workers}");
        config.check().unwrap();
    }
}

#[test]
fn an_allowed_host_that_could_never_match_is_refused() {
    let check =
        |name: &str| Config { allowed_hosts: vec![name.to_owned()], ..Config::default() }.check();
    for good in ["jobs.example.com", " jobs.example.com ", "JOBS_1.example", ""] {
        check(good).unwrap();
    }
    for bad in ["jobs.example:80", "https://jobs.example", "*.example", "a b", "jöbs.example"] {
        let error = check(bad).unwrap_err().to_string();
        assert!(error.contains(bad) && error.contains("without scheme, port"), "{error}");
    }
}

#[test]
fn a_host_that_could_accept_no_job_is_refused() {
    for (text, name) in
        [("capacity = 0", "queue.capacity (--queue-capacity)"), ("total = 0", "queue.total")]
    {
        let config: Config = toml::from_str(&format!("[queue]\n{text}")).unwrap();
        let error = config.check().expect_err(text).to_string();
        assert_eq!(error, format!("{name} is 0: no job would be accepted; use 1 or more"));
    }
    let without_schedules: Config = toml::from_str("[queue]\nparked_capacity = 0").unwrap();
    without_schedules.check().unwrap();
}
