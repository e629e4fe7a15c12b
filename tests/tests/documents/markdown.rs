//! Markdown as far as the documents use it: code, links, headings.

use super::repository;

/// A document.
pub(crate) struct Document {
    pub(crate) path: &'static str,
    /// Code within a text, and each line of a block.
    pub(crate) code: Vec<Code>,
    /// Blocks of code as a whole.
    pub(crate) blocks: Vec<Code>,
    /// Where links lead to, each with its line.
    pub(crate) links: Vec<(usize, String)>,
    /// Headings as they are written.
    pub(crate) headings: Vec<String>,
}

/// A piece of code.
pub(crate) struct Code {
    pub(crate) line: usize,
    pub(crate) text: String,
    /// The language of the block that it stands in; `None` within a text.
    pub(crate) language: Option<String>,
}

impl Code {
    /// Its words, without the brackets of what may be left out and the marks of a sentence.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        let marks = |c: char| matches!(c, '(' | ')' | '[' | ']' | ',' | ';' | ':' | '"' | '\'');
        self.text.split_whitespace().map(move |word| word.trim_matches(marks)).filter(|word| !word.is_empty())
    }
}

impl Document {
    pub(crate) fn read(path: &'static str) -> Self {
        Self::parse(path, &repository::read(path))
    }

    fn parse(path: &'static str, text: &str) -> Self {
        let mut document = Self { path, code: Vec::new(), blocks: Vec::new(), links: Vec::new(), headings: Vec::new() };
        // Text between two blocks, and the line that it begins at.
        let mut prose = (1, String::new());
        let mut block: Option<Code> = None;
        for (line, number) in text.lines().zip(1..) {
            match (line.trim_start().strip_prefix("```"), block.take()) {
                (Some(language), None) => {
                    document.prose(&std::mem::take(&mut prose));
                    block = Some(Code { line: number + 1, text: String::new(), language: Some(language.into()) });
                }
                (Some(_), Some(ended)) => {
                    document.blocks.push(ended);
                    prose.0 = number + 1;
                }
                (None, Some(mut inside)) => {
                    document.code.push(Code { line: number, text: line.into(), language: inside.language.clone() });
                    inside.text.extend([line, "\n"]);
                    block = Some(inside);
                }
                (None, None) => {
                    document.headings.extend(line.strip_prefix('#').map(|rest| rest.trim_matches(['#', ' ']).into()));
                    prose.1.extend([line, "\n"]);
                }
            }
        }
        assert!(block.is_none(), "{path}: a block of code has no end");
        document.prose(&prose);
        document
    }

    fn prose(&mut self, (first, text): &(usize, String)) {
        let mut line = *first;
        for (part, nth) in text.split('`').zip(0..) {
            if nth % 2 == 1 {
                self.code.push(Code { line, text: part.into(), language: None });
            }
            line += part.matches('\n').count();
        }
        for (before, after) in text.match_indices("](").map(|(at, mark)| (&text[..at], &text[at + mark.len()..])) {
            let target = after.split(')').next().unwrap_or_default();
            self.links.push((first + before.matches('\n').count(), target.to_owned()));
        }
    }

    /// Whether a heading is linked to by this anchor.
    fn has_anchor(&self, anchor: &str) -> bool {
        self.headings.iter().any(|heading| {
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.collect::<String>().to_lowercase().replace(' ', "-") == anchor
        })
    }
}

#[test]
fn links_lead_somewhere() {
    let all = super::documents();
    super::hold(|document| {
        let mut faults = Vec::new();
        for (line, link) in document.links.iter().filter(|(_, link)| !link.contains("://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let path = match document.path.rsplit_once('/') {
                _ if file.is_empty() => document.path.to_owned(),
                Some((directory, _)) => repository::joined(directory, file),
                None => repository::joined("", file),
            };
            let target = all.iter().find(|target| target.path == path);
            if !repository::exists(&path) {
                faults.push((*line, format!("a link to {path}, which is not there")));
            } else if !anchor.is_empty() && !target.is_some_and(|target| target.has_anchor(anchor)) {
                faults.push((*line, format!("{path} has no heading #{anchor}")));
            }
        }
        faults
    });
}

/// Comments cite documents as `FILE.md, "Heading"`.
#[test]
fn what_code_cites_is_there() {
    let all = super::documents();
    let mut faults = Vec::new();
    for path in repository::files().into_iter().filter(|path| !path.contains("/corpus/")) {
        let Ok(text) = std::fs::read_to_string(repository::root().join(&path)) else { continue };
        for (line, number) in text.lines().zip(1..) {
            if line.contains(concat!("design ", "section")) {
                faults.push(format!("{path}:{number} cites a page that is not in the repository"));
            }
            let cited = line.split_once(".md, \"").and_then(|(before, after)| {
                let name = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '-').next()?;
                Some((format!("{name}.md"), after.split_once('"')?.0))
            });
            let Some((name, heading)) = cited else { continue };
            let found = all.iter().any(|document| {
                document.path.ends_with(&name) && document.headings.iter().any(|known| known == heading)
            });
            if !found && name != "FILE.md" {
                faults.push(format!("{path}:{number}: {name} has no heading {heading:?}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
