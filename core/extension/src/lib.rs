//! The extension-point traits and their plain structs, the mirror of wit/.
