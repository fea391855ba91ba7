use super::*;

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

/// Calls `check` with every command and its name.
fn each(command: &clap::Command, path: &str, check: &mut impl FnMut(&clap::Command, &str)) {
    let path = format!("{path} {}", command.get_name());
    check(command, &path);
    command.get_subcommands().for_each(|inner| each(inner, &path, check));
}

#[test]
fn the_help_of_every_option_states_its_default() {
    each(&Cli::command(), "", &mut |command, path| {
        for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
            let takes_value = arg.get_action().takes_values();
            let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string);
            let states = help.is_some_and(|help| help.contains("[default: "))
                || !arg.get_default_values().is_empty()
                || arg.is_required_set();
            assert!(states || !takes_value, "{path} --{}", arg.get_id());
        }
    });
}

#[test]
fn the_help_of_settings_says_that_they_stay_as_they_are() {
    each(&Cli::command(), "", &mut |command, path| {
        let options = command.get_arguments().filter(|arg| !arg.is_global_set());
        for arg in options.filter(|arg| path == " jobwright plugin set" && !arg.is_positional()) {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let stays = ["[default: as it is", "[default: as they are"];
            assert!(stays.iter().any(|stays| help.contains(stays)), "--{}: {help}", arg.get_id());
        }
    });
}

#[test]
fn a_flag_takes_the_same_kind_of_value_in_every_command() {
    let mut known = std::collections::BTreeMap::<String, (Vec<String>, String)>::new();
    each(&Cli::command(), "", &mut |command, path| {
        for arg in command.get_arguments() {
            let names = arg.get_value_names().unwrap_or_default();
            // Only commands that read a value once accept `-` for standard input.
            let names = names.iter().map(|name| name.trim_end_matches("|-").to_owned());
            let names: Vec<String> = names.collect();
            let aliases = arg.get_all_aliases().unwrap_or_default();
            let flags = arg.get_long().into_iter().chain(aliases);
            for flag in flags.filter(|flag| !FORMER.contains(&(path, *flag))) {
                let (first, whose) =
                    known.entry(flag.to_owned()).or_insert((names.clone(), path.to_owned()));
                assert_eq!(*first, names, "--{flag} of {path} is not that of {whose}");
            }
        }
    });
}

/// Hidden aliases from earlier versions. In other commands, `--data` is a payload and `--name` the name
/// of a plugin.
const FORMER: [(&str, &str); 2] = [(" jobwright serve", "data"), (" jobwright key create", "name")];

#[test]
fn a_command_for_one_or_many_jobs_names_both_forms() {
    for (line, forms) in [
        ("jobwright job submit", ["<PLUGIN>", "--file"]),
        ("jobwright job cancel", ["<ID>", "--tag"]),
        ("jobwright job retry", ["<ID>", "--tag"]),
    ] {
        let error = Cli::try_parse_from(line.split(' ')).expect_err(line).to_string();
        let (_, usage) = error.split_once("Usage: ").expect("it shows the usage");
        assert!(forms.iter().all(|form| usage.contains(form)), "{usage}");
        assert_eq!(usage.matches(line).count(), forms.len(), "{usage}");
    }
}

#[test]
fn the_variable_of_a_flag_can_be_a_number() {
    each(&Cli::command(), "", &mut |command, path| {
        let flags = command.get_arguments().filter(|arg| !arg.get_action().takes_values());
        for arg in flags.filter(|arg| arg.get_env().is_some()) {
            // The default parser accepts only `true` and `false`.
            let reads = format!("{:?}", arg.get_value_parser());
            assert_ne!(reads, "ValueParser::bool", "{path} --{}", arg.get_id());
        }
    });
}

#[test]
fn only_commands_that_run_guests_log_refused_requests() {
    let filter = |line: &str| {
        let cli = Cli::try_parse_from(line.split(' ')).expect(line);
        default_filter(&cli.command)
    };
    for line in ["jobwright run x.wasm", "jobwright dev x.wasm"] {
        assert!(telemetry::parse_filter(filter(line)).is_ok());
        assert_eq!(filter(line), "warn,jobwright::services=info");
    }
    assert_eq!((filter("jobwright serve"), filter("jobwright plugin list")), ("info", "warn"));
}

#[test]
fn global_options_have_a_group_of_their_own() {
    each(&Cli::command(), "", &mut |command, path| {
        for arg in command.get_arguments().filter(|arg| arg.is_global_set()) {
            assert_eq!(arg.get_help_heading(), Some(GLOBAL), "{path} --{}", arg.get_id());
        }
    });
}

/// clap identifies arguments by their id: two with the same id would share a value.
#[test]
fn no_argument_has_the_id_of_a_global_argument() {
    fn check(command: &clap::Command, above: &[String]) {
        let ids = |global: bool| {
            let own = command.get_arguments().filter(move |arg| arg.is_global_set() == global);
            own.map(|arg| arg.get_id().to_string())
        };
        let of_all: Vec<String> = above.iter().cloned().chain(ids(true)).collect();
        for id in ids(false) {
            assert!(!of_all.contains(&id), "`{id}` of {}", command.get_name());
        }
        command.get_subcommands().for_each(|command| check(command, &of_all));
    }
    check(&Cli::command(), &[]);
}
