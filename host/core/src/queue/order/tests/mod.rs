//! Picks from rows, as a driver of a database has them.

mod laws;
mod rows;
mod shares;
