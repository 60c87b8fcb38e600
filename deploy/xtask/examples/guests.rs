//! Builds guests alone: `cargo run -p hansa-xtask --example guests [NAME…]`.

#[path = "../src/guests.rs"]
mod guests;

fn main() -> anyhow::Result<()> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for file in guests::build_guests(&std::env::current_dir()?, &names)? {
        println!("{}", file.display());
    }
    Ok(())
}
