//! The kernel's side of the mesh.

pub mod state;
