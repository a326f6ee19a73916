//! The demo, as `cargo run --release -- demo --once` runs it.

use crate::harness::process::{program, run};

#[test]
fn the_story_comes_true() {
    let ran = run(program().args(["demo", "--once"]));
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    let mut rest = ran.out.as_str();
    for part in [
        "A store, and three regions that share three certificates",
        "every address of every target was seen serving version 1",
        "each machine got an agent",
        "The certificates come to their end",
        "NOTICE to storage",
        "The owner renews them in the store",
        "the runway has not changed by a second",
        "NOTICE again",
        "The release is late",
        "INCIDENT 1",
        "INCIDENT 3",
        "a critical rollout, wave by wave",
        "version 2 goes out",
        "1 of 1 targets observed serving version 2",
        "its agent saw that, and put the old pair back by itself",
        "2 of 2 targets observed serving version 2",
        "RESOLVED 1",
        "RESOLVED 3",
        "before the first of the old certificates would have ended",
        "the journal verifies",
    ] {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is not told, or not in its place:\n{}", ran.out));
        rest = &rest[at..];
    }
}
