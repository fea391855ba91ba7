//! Links between the pages, and to files of the repository.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use jobwright_tests::tests;
use libtest_mimic::Trial;

pub(super) fn trials() -> Vec<Trial> {
    tests![every_link_leads_to_a_file_and_a_heading, every_page_is_in_the_summary]
}

async fn every_link_leads_to_a_file_and_a_heading() -> anyhow::Result<()> {
    let mut broken = Vec::new();
    for page in pages()? {
        let text = std::fs::read_to_string(&page)?;
        for link in links(&text).filter(|link| !link.contains("://")) {
            if !leads_somewhere(&page, link) {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    ensure!(broken.is_empty(), "broken links: {broken:#?}");
    Ok(())
}

async fn every_page_is_in_the_summary() -> anyhow::Result<()> {
    let summary = book().join("SUMMARY.md");
    let text = std::fs::read_to_string(&summary)?;
    let listed: BTreeSet<PathBuf> = links(&text).map(|link| book().join(link)).collect();
    let pages = pages()?.into_iter().filter(|page| page.starts_with(book()) && *page != summary);
    let missing: Vec<PathBuf> = pages.filter(|page| !listed.contains(page)).collect();
    ensure!(missing.is_empty(), "not in SUMMARY.md: {missing:?}");
    Ok(())
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn book() -> PathBuf {
    root().join("host/docs/src")
}

/// The README and every page of the book.
fn pages() -> anyhow::Result<Vec<PathBuf>> {
    let mut pages = vec![root().join("README.md")];
    let mut folders = vec![book()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { pages.push(path) }
        }
    }
    ensure!(pages.len() > 10, "the book has pages: {pages:?}");
    Ok(pages)
}

/// The targets of a page's links.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link)
}

fn leads_somewhere(page: &Path, link: &str) -> bool {
    let (file, heading) = link.split_once('#').map_or((link, None), |(f, h)| (f, Some(h)));
    let target = match file {
        "" => Some(page.to_owned()),
        file => page.parent().map(|folder| folder.join(file)),
    };
    let Some(target) = target.filter(|target| target.exists()) else { return false };
    heading.is_none_or(|heading| has_heading(&target, heading).unwrap_or(false))
}

/// Whether a page has a heading with this anchor.
fn has_heading(page: &Path, anchor: &str) -> anyhow::Result<bool> {
    let text = std::fs::read_to_string(page).with_context(|| page.display().to_string())?;
    let mut headings = text.lines().filter(|line| line.starts_with('#'));
    Ok(headings.any(|line| anchor_of(line.trim_start_matches('#').trim()) == anchor))
}

/// The anchor that GitHub and mdBook make of a heading.
fn anchor_of(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}
