//! How is a report written as an HTML page?
//!
//! One file that needs nothing else: it contains style, script and figures, and
//! its content security policy forbids the browser to fetch anything. It is
//! complete without the script: marks have titles, and tables have the numbers.

use std::fmt::Write;

use super::color::dark_rules;
use super::figure::Figure;
use super::pictures::Pictures;
use super::table::Table;
use super::words::escape;
use super::{Item, Report};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// Stands before what may be wider than the window; the script shows it where it
/// is.
const HINT: &str = "<p class=\"hint\" hidden>← scroll sideways →</p>\n";

impl Report {
    /// The report as one self-contained HTML page.
    pub fn html(&self) -> String {
        let title = escape(&self.title);
        let sections = items(&self.items);
        let dark = dark_rules(".plot ", &sections);
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
             <link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style>\n{STYLE}{dark}\n</style>\n</head>\n\
             <body>\n<main>\n<header>\n<h1>{title}</h1>\n{}{}</header>\n{}{}</main>\n\
             <div id=\"tooltip\" role=\"tooltip\" hidden></div>\n\
             <div id=\"live\" class=\"unseen\" role=\"status\" aria-live=\"polite\"></div>\n\
             <script>\n{SCRIPT}</script>\n</body>\n</html>\n",
            finding(&self.finding),
            contents(&self.headings()),
            sections,
            cost_and_origin(self)
        )
    }
}

fn finding(finding: &str) -> String {
    if finding.is_empty() {
        return String::new();
    }
    format!("<p class=\"finding\">{}</p>\n", escape(finding))
}

/// Links to the sections, if there are several.
fn contents(headings: &[(usize, &str)]) -> String {
    if headings.len() < 2 {
        return String::new();
    }
    let entry =
        |(number, text): &(usize, &str)| format!("<li><a href=\"#heading{number}\">{}</a></li>\n", escape(text));
    format!(
        "<nav class=\"contents\" aria-label=\"Contents\">\n<ol>\n{}</ol>\n</nav>\n",
        headings.iter().map(entry).collect::<String>()
    )
}

fn cost_and_origin(report: &Report) -> String {
    let mut html = String::new();
    if !report.cost.is_empty() {
        let _ = write!(
            html,
            "<section aria-labelledby=\"cost\">\n<h2 id=\"cost\">Cost</h2>\n<p>{}</p>\n</section>\n",
            escape(&report.cost)
        );
    }
    if !report.facts.is_empty() {
        html.push_str("<section aria-labelledby=\"origin\">\n<h2 id=\"origin\">Origin</h2>\n<dl class=\"facts\">\n");
        for (name, value) in &report.facts {
            let (name, value) = (escape(name), escape(value));
            let _ = writeln!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
        }
        html.push_str("</dl>\n</section>\n");
    }
    html
}

/// The items; each heading begins a section.
fn items(items: &[Item]) -> String {
    let mut html = "<section>\n".to_string();
    for (number, item) in items.iter().enumerate() {
        match item {
            Item::Heading { text } => {
                let _ = write!(
                    html,
                    "</section>\n<section aria-labelledby=\"heading{number}\">\n<h2 id=\"heading{number}\">{}</h2>\n",
                    escape(text)
                );
            }
            Item::Text { text } => drop(writeln!(html, "<p>{}</p>", escape(text))),
            Item::Table(table) => write_table(&mut html, table),
            Item::Figure(figure) => write_figure(&mut html, figure, number),
            Item::Pictures(pictures) => write_pictures(&mut html, pictures, number),
        }
    }
    html + "</section>\n"
}

fn write_table(html: &mut String, table: &Table) {
    let (name, title) = (escape(&table.name), escape(&table.title));
    let file = format!("<a href=\"{name}.csv\" download>CSV</a>");
    if table.file_only {
        let _ = writeln!(
            html,
            "<p class=\"file\">{title}: {}, {file}</p>",
            count(table.rows.len())
        );
        return;
    }
    let _ = write!(
        html,
        "<div class=\"table\"><p class=\"title\"><span>{title}</span> {file}</p>\n\
         {HINT}<div class=\"scroll\" tabindex=\"0\" role=\"group\" aria-label=\"{title}\"><table class=\"sortable\">\n\
         <caption class=\"unseen\">{title}</caption>\n<thead><tr>"
    );
    for (index, column) in table.columns.iter().enumerate() {
        let _ = write!(
            html,
            "<th scope=\"col\"{}><button type=\"button\">{}</button></th>",
            side(table, index),
            escape(&column.label)
        );
    }
    html.push_str("</tr></thead>\n<tbody>\n");
    for (row, shown) in table.rows.iter().zip(table.shown()) {
        html.push_str("<tr>");
        for (index, text) in shown.iter().enumerate() {
            // The script sorts by the values before rounding.
            let value = row.get(index).filter(|value| value.is_number());
            let value = value
                .map(|value| format!(" data-value=\"{value}\""))
                .unwrap_or_default();
            let _ = write!(html, "<td{}{value}>{}</td>", side(table, index), escape(text));
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody></table></div></div>\n");
}

fn count(rows: usize) -> String {
    if rows == 1 {
        "1 row".to_string()
    } else {
        format!("{rows} rows")
    }
}

fn side(table: &Table, column: usize) -> &'static str {
    if table.is_number(column) {
        " class=\"number\""
    } else {
        ""
    }
}

fn write_figure(html: &mut String, figure: &Figure, number: usize) {
    let id = format!("figure{number}");
    let title = escape(&figure.title);
    let _ = write!(
        html,
        "<figure>\n{HINT}<div class=\"plot\" tabindex=\"0\" role=\"group\" aria-label=\"{title}\" \
         aria-describedby=\"{id}-help\">\n{}</div>\n\
         <p class=\"unseen\" id=\"{id}-help\">Arrow keys move among the marks, Home and End along a series.</p>\n\
         <figcaption>{} {}</figcaption>\n",
        figure.inline_svg(&id),
        escape(&figure.caption),
        drawing_files(&figure.name)
    );
    write_data(html, figure, &title);
    html.push_str("</figure>\n");
}

fn write_pictures(html: &mut String, pictures: &Pictures, number: usize) {
    let title = escape(&pictures.title);
    let _ = write!(
        html,
        "<figure>\n{HINT}<div class=\"plot\" tabindex=\"0\" role=\"group\" aria-label=\"{title}\">\n{}</div>\n\
         <figcaption>{} {}</figcaption>\n</figure>\n",
        pictures.inline_svg(&format!("pictures{number}")),
        escape(&pictures.caption),
        drawing_files(&pictures.name)
    );
}

/// Links to the files of the drawing `name`.
fn drawing_files(name: &str) -> String {
    let name = escape(name);
    // Without the feature, no PNG file is written.
    let png = if cfg!(feature = "png") {
        format!(" <a href=\"{name}.png\" download>PNG</a>")
    } else {
        String::new()
    };
    format!("<span class=\"files\"><a href=\"{name}.svg\" download>SVG</a>{png}</span>")
}

/// What the figure shows, in words, for readers who cannot see it.
fn write_data(html: &mut String, figure: &Figure, title: &str) {
    let _ = write!(
        html,
        "<details><summary>Data</summary>\n<div class=\"scroll\" tabindex=\"0\" role=\"group\" \
         aria-label=\"Data: {title}\"><table>\n<thead><tr><th scope=\"col\">series</th>\
         <th scope=\"col\">mark</th></tr></thead>\n<tbody>\n"
    );
    for layer in &figure.layers {
        for words in layer.words() {
            let _ = writeln!(
                html,
                "<tr><td>{}</td><td>{}</td></tr>",
                escape(layer.label()),
                escape(&words)
            );
        }
    }
    html.push_str("</tbody></table></div></details>\n");
}
