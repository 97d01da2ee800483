//! Our own pages from Markdown to HTML.
//!
//! Owns the part of Markdown that docs/ uses: headings, paragraphs, lists, tables, code, links, bold and italics. Its input is
//! compiled in; it must not be given texts of others.

use std::fmt::Write as _;

/// What a page looks like: plain, and readable in the dark. Nothing is loaded from elsewhere.
const STYLE: &str = "body{max-width:52rem;margin:2rem auto;padding:0 1rem;font:1rem/1.5 system-ui,sans-serif;color-scheme:light dark}\
table{border-collapse:collapse}td,th{border:1px solid #8886;padding:.2rem .5rem;text-align:left;vertical-align:top}\
pre,code{font-family:ui-monospace,monospace;background:#8882}pre{padding:.6rem;overflow:auto}:target{background:#fc06}";

/// The page.
pub(super) fn html(markdown: &str) -> String {
    let lines: Vec<&str> = markdown.lines().collect();
    let title = lines.iter().find_map(|line| line.strip_prefix("# "));
    let title = escape(&title.unwrap_or("Fettle").replace('`', ""));
    let body = blocks(&lines);
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
<title>{title}</title><style>{STYLE}</style><body>\n{body}</body></html>\n"
    )
}

/// What a block of lines is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Heading,
    Code,
    Table,
    Bullets,
    Numbers,
    Anchor,
    Paragraph,
}

fn kind(line: &str) -> Kind {
    let numbered = line.split_once(". ").is_some_and(|(number, _)| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    match line {
        _ if line.starts_with('#') => Kind::Heading,
        _ if line.starts_with("```") || line.starts_with("    ") => Kind::Code,
        _ if line.starts_with('|') => Kind::Table,
        _ if line.starts_with("- ") => Kind::Bullets,
        _ if line.starts_with("<a id=") => Kind::Anchor,
        _ if numbered => Kind::Numbers,
        _ => Kind::Paragraph,
    }
}

fn blocks(lines: &[&str]) -> String {
    let mut html = String::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        if line.trim().is_empty() {
            at += 1;
            continue;
        }
        let kind = kind(line);
        let end = end_of(lines, at, kind);
        let block = &lines[at..end];
        match kind {
            Kind::Heading => html.push_str(&heading(line)),
            Kind::Code => html.push_str(&code(block)),
            Kind::Table => html.push_str(&table(block)),
            Kind::Bullets => html.push_str(&list(block, "ul")),
            Kind::Numbers => html.push_str(&list(block, "ol")),
            Kind::Anchor => {
                html.push_str(line);
                html.push('\n');
            }
            Kind::Paragraph => {
                let _ = writeln!(html, "<p>{}</p>", inline(&block.join(" ")));
            }
        }
        at = end;
    }
    html
}

/// Where the block that begins at `at` ends.
fn end_of(lines: &[&str], at: usize, kind: Kind) -> usize {
    let rest = &lines[at + 1..];
    let length = match kind {
        Kind::Heading | Kind::Anchor => Some(0),
        Kind::Code if lines[at].starts_with("```") => {
            let close = rest.iter().position(|line| line.starts_with("```"));
            close.map(|close| close + 1)
        }
        Kind::Code => rest.iter().position(|line| !line.starts_with("    ")),
        Kind::Table => rest.iter().position(|line| !line.starts_with('|')),
        // The lines of an item go on indented, and a list ends with an empty line.
        Kind::Bullets | Kind::Numbers => rest.iter().position(|line| line.trim().is_empty()),
        Kind::Paragraph => rest.iter().position(|line| {
            line.trim().is_empty() || !matches!(self::kind(line), Kind::Paragraph)
        }),
    };
    length.map_or(lines.len(), |length| at + 1 + length)
}

fn heading(line: &str) -> String {
    let text = line.trim_start_matches('#');
    let level = (line.len() - text.len()).min(6);
    let text = text.trim();
    format!(
        "<h{level} id=\"{}\">{}</h{level}>\n",
        anchor(text),
        inline(text)
    )
}

/// The anchor of a heading, as GitHub makes it.
fn anchor(text: &str) -> String {
    let kept = text.to_lowercase();
    let kept = kept.chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ => c.is_alphanumeric().then_some(c),
    });
    kept.collect()
}

fn code(block: &[&str]) -> String {
    let fenced = block[0].starts_with("```");
    let lines = if fenced {
        &block[1..block.len().saturating_sub(1).max(1)]
    } else {
        block
    };
    let bare = |line: &&str| {
        let indented = line.strip_prefix("    ").filter(|_| !fenced);
        escape(indented.unwrap_or(line))
    };
    let lines: Vec<String> = lines.iter().map(bare).collect();
    format!("<pre><code>{}</code></pre>\n", lines.join("\n"))
}

fn table(block: &[&str]) -> String {
    let mut html = String::from("<table>\n");
    for (at, line) in block.iter().enumerate() {
        let cells = cells(line);
        if at == 1
            && cells
                .iter()
                .all(|cell| cell.trim_matches([':', '-']).is_empty())
        {
            continue;
        }
        let tag = if at == 0 { "th" } else { "td" };
        let cells = cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", inline(cell)));
        let _ = writeln!(html, "<tr>{}</tr>", cells.collect::<String>());
    }
    html.push_str("</table>\n");
    html
}

fn cells(line: &str) -> Vec<&str> {
    let line = line.trim().trim_start_matches('|');
    let line = line.strip_suffix('|').unwrap_or(line);
    line.split('|').map(str::trim).collect()
}

fn list(block: &[&str], tag: &str) -> String {
    let mut items: Vec<String> = Vec::new();
    for line in block {
        let text = match kind(line) {
            Kind::Bullets | Kind::Numbers => line.split_once(' ').map(|(_, text)| text),
            _ => None,
        };
        match (text, items.last_mut()) {
            (None, Some(item)) => {
                item.push(' ');
                item.push_str(line.trim());
            }
            (text, _) => items.push(text.unwrap_or(line).to_owned()),
        }
    }
    let items = items
        .iter()
        .map(|item| format!("<li>{}</li>\n", inline(item)));
    format!("<{tag}>\n{}</{tag}>\n", items.collect::<String>())
}

/// Code, links, bold and italics within a line.
fn inline(text: &str) -> String {
    let mut html = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['`', '!', '[', '*']) {
        html.push_str(&escape(&rest[..at]));
        rest = &rest[at..];
        let (piece, used) = code_span(rest)
            .or_else(|| image(rest))
            .or_else(|| link(rest))
            .or_else(|| emphasis(rest, "**", "strong"))
            .or_else(|| emphasis(rest, "*", "em"))
            .unwrap_or_else(|| (rest[..1].to_owned(), 1));
        html.push_str(&piece);
        rest = &rest[used..];
    }
    html.push_str(&escape(rest));
    html
}

/// What stands between two marks, and how long all of it is.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<(&'a str, usize)> {
    let inner = text.strip_prefix(open)?;
    let end = inner.find(close).filter(|end| *end > 0)?;
    Some((&inner[..end], open.len() + end + close.len()))
}

fn code_span(text: &str) -> Option<(String, usize)> {
    let fence = &text[..text.len() - text.trim_start_matches('`').len()];
    if fence.is_empty() {
        return None;
    }
    let (inner, used) = between(text, fence, fence)?;
    Some((format!("<code>{}</code>", escape(inner.trim())), used))
}

fn image(text: &str) -> Option<(String, usize)> {
    let (label, used) = between(text, "![", "](")?;
    let (source, more) = between(&text[used - 1..], "(", ")")?;
    let (label, source) = (escape(label), escape(source));
    let html = format!("<img src=\"{source}\" alt=\"{label}\">");
    Some((html, used - 1 + more))
}

fn link(text: &str) -> Option<(String, usize)> {
    let (label, used) = between(text, "[", "](")?;
    let (target, more) = between(&text[used - 1..], "(", ")")?;
    // A page's name is its address without the file's ending.
    let target = target.replace(".md", "");
    let html = format!("<a href=\"{}\">{}</a>", escape(&target), inline(label));
    Some((html, used - 1 + more))
}

fn emphasis(text: &str, mark: &str, tag: &str) -> Option<(String, usize)> {
    let (inner, used) = between(text, mark, mark)?;
    let is_tight = !inner.starts_with(' ') && !inner.ends_with(' ');
    is_tight.then(|| (format!("<{tag}>{}</{tag}>", inline(inner)), used))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(markdown: &str) -> String {
        blocks(&markdown.lines().collect::<Vec<_>>())
    }

    #[test]
    fn what_the_pages_use_becomes_html() {
        let checks = [
            (
                "### Event `oom`",
                "<h3 id=\"event-oom\">Event <code>oom</code></h3>\n",
            ),
            (
                "a *b* **c** `d<` e",
                "<p>a <em>b</em> <strong>c</strong> <code>d&lt;</code> e</p>\n",
            ),
            ("[x](y.md#z) 2 * 3", "<p><a href=\"y#z\">x</a> 2 * 3</p>\n"),
            (
                "![a b](c.svg)!",
                "<p><img src=\"c.svg\" alt=\"a b\">!</p>\n",
            ),
            ("- a\n  b\n- c", "<ul>\n<li>a b</li>\n<li>c</li>\n</ul>\n"),
            ("1. a\n2. b", "<ol>\n<li>a</li>\n<li>b</li>\n</ol>\n"),
            (
                "| a | b |\n|---|---|\n| 1 | `2` |",
                "<table>\n<tr><th>a</th><th>b</th></tr>\n<tr><td>1</td><td><code>2</code></td></tr>\n</table>\n",
            ),
            (
                "```sh\na <b\n```\nc",
                "<pre><code>a &lt;b</code></pre>\n<p>c</p>\n",
            ),
            ("    a\n    b", "<pre><code>a\nb</code></pre>\n"),
            ("a\nb\n- c", "<p>a b</p>\n<ul>\n<li>c</li>\n</ul>\n"),
        ];
        for (markdown, expected) in checks {
            assert_eq!(body(markdown), expected, "{markdown}");
        }
    }
}
