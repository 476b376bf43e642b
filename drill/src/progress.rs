//! Where a drill says how far it is.

/// Receives one short line per step. Called from the drill's task; must not block.
pub trait Progress: Send + Sync {
    /// A step began or something worth telling happened.
    fn step(&self, text: &str);
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _text: &str) {}
}

impl<F: Fn(&str) + Send + Sync> Progress for F {
    fn step(&self, text: &str) {
        self(text);
    }
}
