//! HTML pages: text, title and links.
//!
//! Owns the choice of what of a page is text. It must not fetch what a page refers to.

use html2text::config;
use html2text::render::TrivialDecorator;
use html2text::{Element, Handle, RcDom};

use super::Page;
use crate::extract::{chain, decode};

/// Largest page that is parsed, in bytes: its tree takes some thirty times that in memory.
const PAGE_BYTES_MAX: usize = 16 << 20;
/// Links that are kept of a page.
const LINKS_MAX: usize = 1_000;
/// Columns of the rendered text: so many that no paragraph is wrapped, because a line break inside a sentence would be one
/// for every later step.
const COLUMNS: usize = 1_000_000;

/// Reads a page.
///
/// # Errors
/// What is wrong with it.
pub(super) fn read(bytes: &[u8]) -> Result<Page, String> {
    if bytes.len() > PAGE_BYTES_MAX {
        return Err(format!(
            "the page has {} bytes, more than the {PAGE_BYTES_MAX} that are parsed; split it",
            bytes.len()
        ));
    }
    let decoded =
        decode::html(bytes).map_err(|error| format!("the page cannot be read: {error}"))?;
    let title = title(&decoded.text);
    let (text, links) = render(&decoded.text)?;
    Ok(Page {
        text: text.trim().to_owned(),
        title,
        encoding: Some(decoded.encoding),
        links,
    })
}

fn render(html: &str) -> Result<(String, Vec<String>), String> {
    let unreadable = |error| format!("the page cannot be parsed: {}", chain(&error));
    let config = config::with_decorator(TrivialDecorator::new()).raw_mode(true);
    let dom = config.parse_html(html.as_bytes()).map_err(unreadable)?;
    let links = links_without_rules(&dom);
    let tree = config.dom_to_render_tree(&dom).map_err(unreadable)?;
    let text = config.render_to_string(tree, COLUMNS).map_err(unreadable)?;
    Ok((text, links))
}

/// Collects link targets and takes out horizontal rules, which would be drawn over all columns.
fn links_without_rules(dom: &RcDom) -> Vec<String> {
    let mut links: Vec<String> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    let mut open: Vec<Handle> = vec![dom.document.clone()];
    while let Some(node) = open.pop() {
        if let Some(target) = link_target(&node)
            && links.len() < LINKS_MAX
            && seen.insert(target.clone())
        {
            links.push(target);
        }
        let mut children = node.children.borrow_mut();
        children.retain(|child| !is_element(child, "hr"));
        open.extend(children.iter().rev().cloned());
    }
    links
}

fn is_element(node: &Handle, wanted: &str) -> bool {
    matches!(&node.data, Element { name, .. } if &*name.local == wanted)
}

/// Where an `<a>` leads to, except within its own page or to a script.
fn link_target(node: &Handle) -> Option<String> {
    let Element { name, attrs, .. } = &node.data else {
        return None;
    };
    if &*name.local != "a" {
        return None;
    }
    let attributes = attrs.borrow();
    let target = attributes
        .iter()
        .find(|attribute| &*attribute.name.local == "href")?;
    let target = target.value.trim();
    let useless = target.is_empty() || target.starts_with('#') || target.starts_with("javascript:");
    (!useless).then(|| target.to_owned())
}

/// The page's title, with entities resolved by rendering it as a paragraph.
fn title(html: &str) -> Option<String> {
    // Lower-casing ASCII keeps byte offsets.
    let lower = html.to_ascii_lowercase();
    let after_name = lower.find("<title")? + "<title".len();
    let start = after_name + lower[after_name..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    let escaped = html[start..end].replace('<', "&lt;");
    let (title, _) = render(&format!("<p>{escaped}</p>")).ok()?;
    let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
    (!title.is_empty()).then_some(title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_gives_text_title_and_links() {
        let page = read(
            b"<!doctype html><html><head><title>Caf&eacute; &amp; more</title><style>p{}</style>\
              <script>var x = '<p>no</p>';</script></head><body><h1>Menu</h1><p>Soup   of the\n day</p><hr>\
              <ul><li>One</li><li>Two <a href='/two?a=1&amp;b=2'>more</a></li></ul>\
              <a href='#top'>top</a><a href='https://example.org/'>site</a><a href='https://example.org/'>again</a>\
              <table><tr><td>a</td><td>b</td></tr></table></body></html>",
        )
        .unwrap();
        assert_eq!(page.title.as_deref(), Some("Café & more"));
        assert_eq!(page.links, ["/two?a=1&b=2", "https://example.org/"]);
        assert!(page.text.contains("Soup of the day"), "{}", page.text);
        assert!(page.text.contains("Two more"), "{}", page.text);
        assert!(
            !page.text.contains("var x") && !page.text.contains('─'),
            "{}",
            page.text
        );
    }

    #[test]
    fn long_paragraphs_are_not_wrapped() {
        let sentence = "word ".repeat(2_000);
        let page = read(format!("<html><p>{sentence}</p>").as_bytes()).unwrap();
        assert_eq!(page.text, sentence.trim());
    }

    #[test]
    fn deep_nesting_and_broken_markup_are_read() {
        let deep = format!("<html>{}x{}", "<div>".repeat(2_000), "</div>".repeat(2_000));
        assert_eq!(read(deep.as_bytes()).unwrap().text, "x");
        let broken = read(b"<html><p>a<b>b<p>c</i></table><title>never closed").unwrap();
        assert!(broken.text.contains('c'));
    }
}
