//! The loops (run_once) and the ports to the outside; no runtime, no sockets, no clock.
