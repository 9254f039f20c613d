//! Relays: connect, subscribe, verify, publish, health. The only room that touches one.
