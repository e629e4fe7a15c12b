//! `meshdog user-data`: a configuration as the Bottlerocket settings that carry it.

use std::fmt;
use std::process::ExitCode;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

use super::config_file::ConfigFile;
use super::error::Error;
use super::output::Output;
use crate::config;

/// EC2's limit on an instance's whole user data, in bytes before EC2's own base64 (EC2 user guide, "Run commands when
/// you launch an EC2 instance with user data input").
const EC2_LIMIT: usize = 16 * 1024;
/// From here on little is left for the host's other settings.
const NEAR_LIMIT: usize = 14 * 1024;

/// Check a configuration file and print the Bottlerocket settings (TOML) that carry it
#[derive(Debug, clap::Args)]
pub(super) struct UserDataArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// The image to run meshdog from; without it the line is left for you to fill in
    #[arg(long, value_name = "REF", value_parser = image)]
    image: Option<String>,
}

/// `[settings.host-containers.meshdog]` (Bottlerocket, settings of host containers).
#[derive(Debug, Serialize)]
struct Document {
    ok: bool,
    bytes: usize,
    toml: String,
}

impl UserDataArgs {
    pub(super) fn run(&self, output: &mut Output<'_>) -> Result<ExitCode, Error> {
        let text = config::read(&self.config.path)?;
        config::parse(&self.config.path, &text)?;
        let document = Document::new(self.image.as_deref(), &text);
        if document.bytes >= EC2_LIMIT {
            return Err(Error::TooLarge { bytes: document.bytes, limit: EC2_LIMIT });
        }
        if document.bytes >= NEAR_LIMIT {
            output.warn(&format!(
                "these settings take {} bytes; EC2 takes less than {EC2_LIMIT} of user data, the host's other settings \
                 included",
                document.bytes
            ))?;
        }
        output.print(&document)?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Document {
    fn new(image: Option<&str>, text: &str) -> Self {
        let source = match image {
            Some(image) => format!("source = \"{image}\""),
            None => "# source = \"...\"   # required: the image to run meshdog from, see --image".to_owned(),
        };
        let data = STANDARD.encode(text);
        let toml = format!(
            "[settings.host-containers.meshdog]\nenabled = true\nsuperpowered = true\n{source}\nuser-data = \"{data}\"\n"
        );
        Self { ok: true, bytes: toml.len(), toml }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.toml.trim_end())
    }
}

/// An image reference, as far as to be sure that it stays within its quotes.
fn image(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    if text.is_empty() || !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || !text.chars().all(allowed) {
        return Err("write REGISTRY/NAME:TAG or REGISTRY/NAME@DIGEST".to_owned());
    }
    Ok(text.to_owned())
}
