//! Attempts in processes of their own: what it costs when one dies, what such a process can do, and that
//! none is left behind. That attempts are the same there is what the tests of the runtime and the
//! hostile guests say, all of which run there too: filter by `isolated`.

mod alike;
mod dying;
mod leaving;
mod runners;
mod sharing;
mod shut_in;
mod signals;
mod trying;
mod unconfined;

use libtest_mimic::Trial;

pub fn trials() -> Vec<Trial> {
    [
        alike::trials(),
        dying::trials(),
        leaving::trials(),
        sharing::trials(),
        shut_in::trials(),
        signals::trials(),
        trying::trials(),
        unconfined::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
