#!/usr/bin/env bash
# Makes a Rust compiler for wasm32-wasip1 where rustup cannot add that target: without rustup's
# downloads, without installing anything, and without touching the machine's own rustc.
#
#   plugins/setup-rust-wasm.sh
#   . target/plugins/wasm-rust/env.sh && cargo build --release --target wasm32-wasip1
#
#   WASM_RUST_PREFIX   where everything goes (default: as in the second line)
#
# Debian's rustc-web is unpacked into a folder, and std is compiled from the library source that
# belongs to it (any other fails at lang items), into that compiler's own sysroot. Cargo and the
# linker are the machine's. It needs Debian or a derivative, a rustup toolchain, and takes a
# download of 140 MB, 600 MB of disk and some minutes; a second run does only what is missing.
# The library and the program of this package ask rustup first, and run this by themselves.
set -euo pipefail

target=wasm32-wasip1
plugins=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=${WASM_RUST_PREFIX:-$plugins/../target/plugins/wasm-rust}
mkdir -p "$prefix"
prefix=$(cd "$prefix" && pwd)
usr=$prefix/root/usr
say() { printf '%s\n' "$*" >&2; }
die() { say "setup-rust-wasm: $*"; exit 1; }

# ---- what it needs ----------------------------------------------------------
for program in apt-get apt-cache dpkg; do
    command -v $program >/dev/null || die "there is no $program: this needs Debian or a derivative"
done
for program in cargo rustc; do
    command -v $program >/dev/null || die "there is no $program: this needs a rustup toolchain"
done
host=$(rustc -vV | sed -n 's/^host: //p')
lld=$(rustc --print sysroot)/lib/rustlib/$host/bin/rust-lld
[ -x "$lld" ] || die "rustc has no rust-lld beside it: this needs a rustup toolchain"
[ -x "${lld%/*}/wasm-component-ld" ] || die "rustc has no wasm-component-ld beside it: this needs a rustup toolchain"

# ---- the compiler -----------------------------------------------------------
candidate() { apt-cache policy rustc-web | sed -n 's/^ *Candidate: //p'; }
# As new as the guests demand. Package lists are often as old as the machine's image.
minimum=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$plugins/../Cargo.toml")
new_enough() { dpkg --compare-versions "$(candidate | sed 's/^(none)$//')" ge "$minimum"; }

unpack() {
    if ! new_enough; then
        say "updating the package lists"
        apt-get update -qq || die "cannot update the package lists: run 'apt-get update' as root"
    fi
    new_enough || die "rustc-web is $(candidate) here, the guests need $minimum"

    # The one package that another depends on, by a pattern for its name.
    needs() { apt-cache depends --important "$1" | awk -v p="$2" '$1 == "Depends:" && $2 ~ p { print $2; exit }'; }
    local runtime llvm deb missing
    runtime=$(needs libstd-rust-web-dev '^libstd-rust-web-[0-9]')
    llvm=$(needs "$runtime" '^libllvm')
    rm -rf "$prefix/debs" "$prefix/root"
    mkdir -p "$prefix/debs" "$prefix/root"
    say "downloading rustc-web $(candidate)"
    # Root would be warned that apt's own user cannot write here.
    (cd "$prefix/debs" && apt-get download -qq -o APT::Sandbox::User=root \
        rustc-web libstd-rust-web-dev "$runtime" "$llvm" rust-web-src wasi-libc)
    for deb in "$prefix"/debs/*.deb; do
        case ${deb##*/} in
        rust-web-src_*) dpkg --fsys-tarfile "$deb" | tar -x -C "$prefix/root" --wildcards \
            './usr/src/rustc-*/library' './usr/lib/rustlib/src' ;;
        *) dpkg --fsys-tarfile "$deb" | tar -x -C "$prefix/root" --exclude './usr/share' ;;
        esac
    done
    rm -rf "$prefix/debs"
    missing=$(LD_LIBRARY_PATH=$(echo "$usr"/lib/*-linux-gnu) ldd "$usr"/lib/*-linux-gnu/librustc_driver-*.so |
        awk '/not found/ { print $1 }')
    [ -z "$missing" ] || die "the machine lacks" $missing "(install libedit2 libxml2 libz3-4 libzstd1)"
}

if [ ! -f "$prefix/unpacked" ]; then
    unpack
    touch "$prefix/unpacked"
fi

mkdir -p "$prefix/bin"
cat >"$prefix/bin/rustc-wasm" <<'W'
#!/bin/sh
usr=$(cd "$(dirname "$(readlink -f "$0")")/../root/usr" && pwd)
LD_LIBRARY_PATH="$(echo "$usr"/lib/*-linux-gnu)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export LD_LIBRARY_PATH
exec "$usr/bin/rustc" "$@"
W
chmod +x "$prefix/bin/rustc-wasm"
ln -sf "$lld" "$prefix/bin/rust-lld"
# Finds the other by where it really is, not by this link.
ln -sf "${lld%/*}/wasm-component-ld" "$prefix/bin/wasm-component-ld"

# ---- std --------------------------------------------------------------------
compile_std() {
    local work=$prefix/std-build lib=$usr/lib/rustlib/$target/lib flags
    say "compiling std for $target, about 90 s of processor time"
    mkdir -p "$work/src"
    printf '#![no_std]\n' >"$work/src/lib.rs"
    cat >"$work/Cargo.toml" <<'T'
[package]
name = "std-build"
version = "0.0.0"
edition = "2021"
[workspace]
[profile.release]
codegen-units = 1
T
    # embed-bitcode: without it a guest built with lto = true does not link.
    # remap: keeps this machine's paths out of the guests' panic messages.
    flags="-Cembed-bitcode=yes --remap-path-prefix=$prefix=/wasm-rust"
    flags+=" --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
    (cd "$work" && env -u CARGO_BUILD_TARGET -u CARGO_ENCODED_RUSTFLAGS -u RUSTC_WRAPPER -u RUSTC_WORKSPACE_WRAPPER \
        RUSTC_BOOTSTRAP=1 RUSTC="$prefix/bin/rustc-wasm" RUSTFLAGS="$flags" \
        CARGO_TARGET_DIR="$work/target" PATH="$prefix/bin:$PATH" \
        cargo build -q --release --target "$target" -Zbuild-std=std,panic_abort)
    rm -rf "$lib"
    mkdir -p "$lib/self-contained"
    find "$work/target/$target/release/deps" -name '*.rlib' ! -name 'libstd_build-*' -exec cp {} "$lib/" \;
    cp "$usr"/lib/wasm32-wasi/{crt1-command.o,crt1-reactor.o,libc.a} "$lib/self-contained/"
    # What was built against an older std does not link against this one.
    rm -rf "$work" "$prefix/target"
}

if [ ! -f "$prefix/std-compiled" ]; then
    compile_std
    touch "$prefix/std-compiled"
fi

# ---- how to use it ----------------------------------------------------------
# Written last: that it is there says that everything is. The target folder is its own because what
# two compilers made does not mix.
cat >"$prefix/env.sh" <<X
export RUSTC="$prefix/bin/rustc-wasm"
export PATH="$prefix/bin:\$PATH"
export CARGO_TARGET_DIR="$prefix/target"
X
say "$("$prefix/bin/rustc-wasm" --version) can compile for $target"
