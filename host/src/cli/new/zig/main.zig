//! Outputs its payload in upper case.

const std = @import("std");

pub fn main() !void {
    const allocator = std.heap.wasm_allocator;
    const text = try std.fs.File.stdin().readToEndAlloc(allocator, std.math.maxInt(usize));
    for (text) |*c| c.* = std.ascii.toUpper(c.*);
    try std.fs.File.stdout().writeAll(text);
}
