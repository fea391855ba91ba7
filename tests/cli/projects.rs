//! `jobwright new`: its projects build and run, in each language, with the commands of their READMEs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, ensure};
use jobwright_tests::{Server, jobwright, tests, trial};
use libtest_mimic::Trial;
use tempfile::TempDir;

const PAYLOAD: &str = "to be or not to be\n";

pub(super) fn trials() -> Vec<Trial> {
    let mut trials =
        tests![a_bad_name_or_a_full_folder_is_refused, new_prints_the_next_commands_as_json];
    let demanded = std::env::var_os("JOBWRIGHT_DEMAND_TOOLS").is_some();
    let tools: Vec<bool> = std::thread::scope(|scope| {
        let probes: Vec<_> =
            TOOLS.iter().map(|tool| scope.spawn(|| succeeds(tool.probe))).collect();
        probes.into_iter().map(|probe| probe.join().unwrap_or(false)).collect()
    });
    for (tool, is_there) in TOOLS.iter().zip(tools) {
        for &lang in tool.languages {
            let name = format!("{}::a_new_project_in_{lang}_builds_and_runs", module_path!());
            let test = trial(&name, move || Box::pin(builds_and_runs(lang)));
            trials.push(tool.having(is_there, demanded, test));
        }
        if tool.languages.contains(&"c") {
            let name = format!("{}::a_trap_names_its_lines_of_source", module_path!());
            let test = trial(&name, || Box::pin(a_trap_names_its_lines_of_source()));
            trials.push(tool.having(is_there, demanded, test));
        }
    }
    trials
}

/// The tools that the commands of a README need.
struct Tool {
    probe: &'static str,
    needs: &'static str,
    languages: &'static [&'static str],
    is_demanded: bool,
}

impl Tool {
    /// `trial`, ignored if the tool is missing, unless it is required.
    fn having(&self, is_there: bool, demanded: bool, trial: Trial) -> Trial {
        let is_ignored = !(is_there || demanded && self.is_demanded);
        let kind = if is_ignored { self.needs } else { "" };
        trial.with_kind(kind).with_ignored_flag(is_ignored)
    }
}

const TOOLS: &[Tool] = &[
    Tool {
        probe: "test -e \"$(rustc --print target-libdir --target wasm32-wasip1)\"",
        needs: "needs Rust's target wasm32-wasip1",
        languages: &["rust"],
        // Not required even in CI, which uses another compiler where this one is not available.
        is_demanded: false,
    },
    Tool {
        probe: "python3 -m ziglang version | grep -q ^0.15",
        needs: "needs the Python package ziglang==0.15.2",
        languages: &["c", "cpp", "zig"],
        is_demanded: true,
    },
    Tool { probe: "go version", needs: "needs Go", languages: &["go"], is_demanded: true },
    Tool {
        probe: "node --version && npm --version",
        needs: "needs node and npm",
        languages: &["assemblyscript", "javascript", "typescript"],
        is_demanded: true,
    },
    Tool {
        probe: "componentize-py --version",
        needs: "needs the Python package componentize-py",
        languages: &["python"],
        is_demanded: true,
    },
];

fn succeeds(line: &str) -> bool {
    shell(line, Path::new(".")).output().is_ok_and(|output| output.status.success())
}

/// Runs a line of a README in a shell, without the variables that cargo set for these tests.
fn shell(line: &str, folder: &Path) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).current_dir(folder).stdin(std::process::Stdio::null());
    for (name, _) in std::env::vars_os() {
        let is_ours = name.to_str().is_some_and(|name| {
            ["CARGO_BUILD_", "CARGO_ENCODED", "CARGO_PROFILE", "CARGO_TARGET", "RUSTC", "RUSTFLAGS"]
                .iter()
                .any(|start| name.starts_with(start))
        });
        if is_ours {
            shell.env_remove(name);
        }
    }
    shell
}

fn ran(line: &str, folder: &Path) -> anyhow::Result<()> {
    let output = shell(line, folder).output()?;
    ensure!(output.status.success(), "{line}: {}", printed(&output));
    Ok(())
}

fn printed(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// A folder with a new project `shout` in it.
async fn project(lang: &str) -> anyhow::Result<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let mut new = jobwright(["new", "shout", "--lang", lang])?;
    let output = new.current_dir(folder.path()).output().await?;
    ensure!(output.status.success(), "{}", printed(&output));
    let project = folder.path().join("shout");
    Ok((folder, project))
}

async fn builds_and_runs(lang: &'static str) -> anyhow::Result<()> {
    let (_folder, project) = project(lang).await?;
    let readme = std::fs::read_to_string(project.join("README.md"))?;
    // Only commands are indented: those that install the compiler, build, run and test.
    let mut commands = readme.lines().filter_map(|line| line.strip_prefix("    "));
    let mut next = || commands.next().with_context(|| format!("no command: {readme}"));
    let (install, build, run, test) = (next()?, next()?, next()?, next()?);
    if install == "npm install" {
        std::os::unix::fs::symlink(packages(lang, &project)?, project.join("node_modules"))?;
    }
    ran(build, &project)?;
    let arguments = run.strip_prefix("jobwright ").context(run.to_owned())?;
    let output = jobwright(arguments.split(' '))?.current_dir(&project).output().await?;
    ensure!(output.status.success(), "{run}: {}", printed(&output));
    assert_eq!(String::from_utf8(output.stdout)?, PAYLOAD.to_uppercase());
    tested(test, &project)?;
    if let Some(asking) = asking(lang) {
        sends_requests(&project, (build, run), asking).await?;
    }
    if lang == "python" {
        exits_with_codes(&project, run).await?;
    }
    Ok(())
}

/// The command of a README that tests the plugin, with this program as `jobwright`.
fn tested(line: &str, project: &Path) -> anyhow::Result<()> {
    let this = std::env::current_exe()?;
    let line = line.replacen("jobwright ", "\"$THIS\" ", 1);
    let run = |line: &str| -> anyhow::Result<Output> {
        let mut command = shell(line, project);
        command.env("THIS", &this).env(jobwright_tests::AS_PROGRAM, "1");
        command.env("XDG_CACHE_HOME", this.with_file_name("jobwright-cache"));
        Ok(command.output()?)
    };
    let output = run(&line)?;
    ensure!(output.status.success(), "{line}: {}", printed(&output));
    std::fs::write(project.join("expected.txt"), "something else")?;
    ensure!(!run(&line)?.status.success(), "it would not notice");
    Ok(())
}

/// The main file of a project in this language, and one in its place that sends a `GET` to the address in
/// its payload; of languages for which the README names something of the project's own. In Python it is a
/// module with another `main`.
fn asking(lang: &str) -> Option<(&'static str, &'static str)> {
    match lang {
        "go" => Some(("main.go", include_str!("asking/main.go"))),
        "python" => Some(("asking.py", include_str!("asking/asking.py"))),
        "typescript" => Some(("main.ts", include_str!("asking/main.ts"))),
        _ => None,
    }
}

/// Has the main file of a Python project call the `main` of the module `asking` in place of its own.
fn calls_another_main(app: &Path) -> anyhow::Result<()> {
    const MAIN: &str = "def main() -> None:\n    sys.stdout.write(sys.stdin.read().upper())\n";
    let text = std::fs::read_to_string(app)?;
    ensure!(text.contains(MAIN), "{text}");
    Ok(std::fs::write(app, text.replace(MAIN, "from asking import main\n"))?)
}

async fn sends_requests(
    project: &Path,
    (build, run): (&str, &str),
    (file, source): (&str, &str),
) -> anyhow::Result<()> {
    let server = Server::answering(|_| Server::ok("hello")).await?;
    let origin = format!("http://{}", server.address());
    std::fs::write(project.join(file), source)?;
    if file == "asking.py" {
        calls_another_main(&project.join("app.py"))?;
    }
    std::fs::write(project.join("payload.txt"), format!("{origin}/x"))?;
    ran(build, project)?;
    let arguments = run.strip_prefix("jobwright ").context(run.to_owned())?;
    let grants = format!("{{\"http\":[{{\"origin\":\"{origin}\"}}]}}");
    for granted in [true, false] {
        let mut command = jobwright(arguments.split(' '))?;
        if granted {
            command.args(["--grants", &grants]);
        }
        let output = command.current_dir(project).output().await?;
        let received = output.stdout == b"200 hello";
        ensure!(received == granted, "{}", printed(&output));
        ensure!(output.status.success() == granted, "{}", printed(&output));
        ensure!(printed(&output).contains("denied") != granted, "{}", printed(&output));
        let fails_for_good = printed(&output).contains("exited with 65");
        ensure!(fails_for_good == (file == "asking.py" && !granted), "{}", printed(&output));
    }
    assert_eq!(server.seen().len(), 1, "only what was granted");
    Ok(())
}

/// Runs the plugin of a Python project that ends by `sys.exit` with the number in its payload, as a process
/// of any system does: with its low eight bits.
async fn exits_with_codes(project: &Path, run: &str) -> anyhow::Result<()> {
    let arguments = run.strip_prefix("jobwright ").context(run.to_owned())?;
    for (number, code) in [(1, 1), (65, 65), (300, 44), (-1, 255), (0, 0), (256, 0)] {
        std::fs::write(project.join("payload.txt"), number.to_string())?;
        let output = jobwright(arguments.split(' '))?.current_dir(project).output().await?;
        let said = printed(&output);
        ensure!(output.status.success() == (code == 0), "{number}: {said}");
        let is_said = said.contains(&format!("exited with {code}"));
        ensure!(is_said == (code != 0), "{number}: {said}");
    }
    Ok(())
}

const TRAP: &str = "static void check(int n) {
    if (n == 3)
        __builtin_trap();
}

int main(void) {
    for (int n = 0;; n++)
        check(n);
}
";

async fn a_trap_names_its_lines_of_source() -> anyhow::Result<()> {
    let (_folder, project) = project("c").await?;
    std::fs::write(project.join("main.c"), TRAP)?;
    for (debugging, expected) in [("-g", true), ("-s", false)] {
        let build = format!(
            "python3 -m ziglang cc -target wasm32-wasi -O1 {debugging} main.c -o trap.wasm"
        );
        ran(&build, &project)?;
        let output = jobwright(["run", "trap.wasm"])?.current_dir(&project).output().await?;
        let notes = String::from_utf8(output.stderr)?;
        ensure!(notes.contains("unreachable: wasm trap"), "{notes}");
        // The lines of the inlined function, and of its call.
        for line in ["main.c:3\n", "main.c:8\n"] {
            ensure!(notes.contains(line) == expected, "{debugging}: {notes}");
        }
    }
    Ok(())
}

/// What npm installs for the project, once for each state of its `package.json`.
fn packages(lang: &str, project: &Path) -> anyhow::Result<PathBuf> {
    let target =
        std::env::current_exe()?.ancestors().nth(3).context("a target folder")?.join("new");
    let folder = target.join(lang);
    std::fs::create_dir_all(&folder)?;
    // One process at a time, until the end of this function.
    let lock = std::fs::File::create(folder.join("lock"))?;
    lock.lock()?;
    let (wanted, stamp) = (std::fs::read(project.join("package.json"))?, folder.join("installed"));
    if std::fs::read(&stamp).ok().as_ref() != Some(&wanted) {
        std::fs::copy(project.join("package.json"), folder.join("package.json"))?;
        ran("npm install --ignore-scripts --no-audit --no-fund --loglevel=error", &folder)?;
        std::fs::write(stamp, wanted)?;
    }
    Ok(folder.join("node_modules"))
}

async fn a_bad_name_or_a_full_folder_is_refused() -> anyhow::Result<()> {
    let (folder, project) = project("c").await?;
    let says = async |line: &str, code: i32, part: &str| -> anyhow::Result<()> {
        let output = jobwright(line.split(' '))?.current_dir(folder.path()).output().await?;
        ensure!(output.status.code() == Some(code), "{line}: {}", printed(&output));
        ensure!(printed(&output).contains(part), "{line}: {}", printed(&output));
        Ok(())
    };
    std::fs::write(project.join("main.c"), "mine")?;
    says("new shout --lang zig", 1, "the folder shout is not empty").await?;
    ensure!(std::fs::read_to_string(project.join("main.c"))? == "mine", "it is as it was");
    says("new ../shout --lang c", 64, "use a letter from a to z").await?;
    says("new deps --lang rust", 64, "cargo cannot build a program called `deps`").await?;
    says("new other --lang cobol", 64, "assemblyscript").await?;
    std::fs::create_dir(folder.path().join("empty"))?;
    says("new empty --lang c", 0, "jobwright run empty.wasm --payload payload.txt").await
}

async fn new_prints_the_next_commands_as_json() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut new = jobwright(["new", "shout", "--lang", "rust", "--json"])?;
    let output = new.current_dir(folder.path()).output().await?;
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    assert_eq!(told["build"], "cargo build --release --target wasm32-wasip1");
    let files = told["files"].as_array().context("files are a list")?;
    for file in files {
        let path = folder.path().join("shout").join(file.as_str().context("a path")?);
        ensure!(path.is_file(), "{}", path.display());
    }
    assert_eq!(files.len(), 6);
    Ok(())
}
