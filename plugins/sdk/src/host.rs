//! What the host offers a guest. Natively there is no host: nothing is logged.

/// Writes a line into the host's log, under the plugin's name.
pub fn log(message: &str) {
    #[cfg(target_arch = "wasm32")]
    wasm::write(wasm::Level::Info, message);
    #[cfg(not(target_arch = "wasm32"))]
    let _ = message;
}

/// Lets a panic say in the host's log what happened; the host puts it into the error of the trap.
/// The
/// `export_…!` macros do this by themselves.
#[cfg(target_arch = "wasm32")]
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| wasm::write(wasm::Level::Error, &panic.to_string())));
}

#[cfg(target_arch = "wasm32")]
mod wasm {
    use crate::bindings::scheduler::hansa::core::log;
    pub(super) use log::Level;

    pub(super) fn write(level: Level, message: &str) {
        log::write(level, "plugin", message, &[]);
    }
}
