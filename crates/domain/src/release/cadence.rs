//! Whether releases of a service leave often enough for the certificates that ride them.
