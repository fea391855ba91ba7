//! Formats JSON: payload on stdin, the same value with indentation on stdout.

const std = @import("std");

/// From sysexits.h.
const bad_data = 65;

pub fn main() !void {
    const allocator = std.heap.wasm_allocator;
    const payload = try std.fs.File.stdin().readToEndAlloc(allocator, std.math.maxInt(usize));

    var diagnostics = std.json.Diagnostics{};
    var scanner = std.json.Scanner.initCompleteInput(allocator, payload);
    scanner.enableDiagnostics(&diagnostics);

    const value = std.json.parseFromTokenSourceLeaky(
        std.json.Value,
        allocator,
        &scanner,
        // Digits are kept as they are: a float would lose some.
        .{ .parse_numbers = false },
    ) catch |err| {
        std.debug.print("{s} at line {d}, column {d}\n", .{
            @errorName(err), diagnostics.getLine(), diagnostics.getColumn(),
        });
        std.process.exit(bad_data);
    };

    var buffer: [4096]u8 = undefined;
    var stdout = std.fs.File.stdout().writerStreaming(&buffer);
    try std.json.Stringify.value(value, .{ .whitespace = .indent_2 }, &stdout.interface);
    try stdout.interface.writeByte('\n');
    try stdout.interface.flush();
}
