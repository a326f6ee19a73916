//! The handshake alone, for benchmarks: dials the targets of standard input as `perennial scan` does, and looks at nothing. Says how many
//! presented a chain.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use probe::{Dialer, Offer, Settings, Target, lanes};

fn main() {
    let targets: Vec<Target> = io::stdin().lines().map(|line| Target::parse(&line.unwrap()).unwrap()).collect();
    let targets = Arc::new(Mutex::new(targets.into_iter()));
    let dialer = Dialer::new(Settings { rate_per_address: 0, ..Settings::default() }).unwrap();
    let presented = Arc::new(AtomicUsize::new(0));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let lanes = lanes::Lanes { quick: 256 / threads, ..lanes::Lanes::default() };
    let workers: Vec<_> = (0..threads)
        .map(|_| {
            let (targets, dialer, presented) = (Arc::clone(&targets), dialer.clone(), Arc::clone(&presented));
            thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(lanes::run(
                    lanes,
                    async || targets.lock().unwrap().next(),
                    move |target: Target| {
                        let (dialer, presented) = (dialer.clone(), Arc::clone(&presented));
                        async move {
                            let address = target.host.parse().unwrap();
                            if dialer.dial(&target, address, Offer::All).await.result.is_ok() {
                                presented.fetch_add(1, Ordering::Relaxed);
                            }
                            Vec::new()
                        }
                    },
                ));
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    println!("{}", presented.load(Ordering::Relaxed));
}
