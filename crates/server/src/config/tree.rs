//! YAML text → a tree of values, each with its place in the text.

use super::scalar::{self, Plain};
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, Tag};
use std::collections::HashMap;

/// Bound of values in a document, aliases expanded.
const NODES_MAX: usize = 50_000;

/// Bound of nesting.
const DEPTH_MAX: usize = 64;

/// A place in the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct At {
    /// From 1.
    pub(super) line: usize,
    /// From 1.
    pub(super) column: usize,
    /// Characters to mark.
    pub(super) width: usize,
    /// It goes on in the lines below.
    pub(super) several_lines: bool,
}

/// A value.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) at: At,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// `quoted` texts are never null, numbers or flags.
    Scalar {
        text: String,
        quoted: bool,
    },
    List(Vec<Node>),
    Map(Vec<(String, At, Node)>),
}

/// Something is wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) at: At,
    pub(super) text: String,
    pub(super) hint: Option<String>,
}

impl Node {
    /// Nothing was written.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, quoted: false }
            if scalar::resolve(text) == Plain::Null)
    }
}

/// Reads one document. `Ok(None)`: an empty one.
pub(super) fn parse(text: &str) -> Result<Option<Node>, Problem> {
    let mut builder = Builder {
        anchors: HashMap::new(),
        nodes: 0,
    };
    let mut events = Parser::new_from_str(text);
    while let Some(next) = events.next() {
        let (event, span) = next.map_err(|error| {
            let marker = error.marker();
            problem(marker.line(), marker.col() + 1, 1, error.info())
        })?;
        if matches!(
            event,
            Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..)
        ) {
            return builder.node(&mut events, event, span, 0).map(Some);
        }
    }
    Ok(None)
}

struct Builder {
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

type Events<'a> = Parser<'a, serde_saphyr::granit_parser::StrInput<'a>>;

impl Builder {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the parser sends nothing else where a value stands"
    )]
    fn node(
        &mut self,
        events: &mut Events<'_>,
        event: Event<'_>,
        span: Span,
        depth: usize,
    ) -> Result<Node, Problem> {
        let at = place(span);
        self.nodes += 1;
        if self.nodes > NODES_MAX || depth > DEPTH_MAX {
            return Err(problem(
                at.line,
                at.column,
                at.width,
                "too large or too deep".to_owned(),
            ));
        }
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                // A tag says it outright: `!!str 5` is a text, `!!int "5"` a number.
                let quoted = match tag.as_deref().and_then(Tag::core_suffix) {
                    None => style != ScalarStyle::Plain,
                    Some(tag) => tag == "str",
                };
                let text = text.into_owned();
                (anchor, Value::Scalar { text, quoted })
            }
            Event::SequenceStart(_, anchor, _) => (anchor, self.list(events, depth)?),
            Event::MappingStart(_, anchor, _) => (anchor, self.map(events, depth)?),
            Event::Alias(id) => {
                let mut node = self
                    .anchors
                    .get(&id)
                    .cloned()
                    .ok_or_else(|| problem(at.line, at.column, at.width, "unknown alias".to_owned()))?;
                self.nodes += count(&node);
                node.at = at;
                return Ok(node);
            }
            _ => {
                let text = "unexpected YAML here".to_owned();
                return Err(problem(at.line, at.column, at.width, text));
            }
        };
        let node = Node { at, value };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self, events: &mut Events<'_>, depth: usize) -> Result<Value, Problem> {
        let mut items = Vec::new();
        loop {
            let (event, span) = next(events)?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::List(items));
            }
            items.push(self.node(events, event, span, depth + 1)?);
        }
    }

    fn map(&mut self, events: &mut Events<'_>, depth: usize) -> Result<Value, Problem> {
        let mut fields: Vec<(String, At, Node)> = Vec::new();
        let mut merged = None;
        loop {
            let (event, span) = next(events)?;
            if matches!(event, Event::MappingEnd) {
                if let Some(node) = merged {
                    merge(&mut fields, node)?;
                }
                return Ok(Value::Map(fields));
            }
            let key = self.node(events, event, span, depth + 1)?;
            let Value::Scalar { text: name, quoted } = key.value else {
                let text = "a key must be a word".to_owned();
                return Err(problem(key.at.line, key.at.column, 1, text));
            };
            if name == "<<" && !quoted && merged.is_none() {
                let (event, span) = next(events)?;
                merged = Some(self.node(events, event, span, depth + 1)?);
                continue;
            }
            if let Some((_, first, _)) = fields.iter().find(|(other, _, _)| *other == name) {
                let text = format!("key `{name}` was already given at line {}", first.line);
                return Err(problem(key.at.line, key.at.column, key.at.width, text));
            }
            let (event, span) = next(events)?;
            let value = self.node(events, event, span, depth + 1)?;
            fields.push((name, key.at, value));
        }
    }
}

/// Adds the fields of a merge key, `<<: *other` or `<<: [*one, *two]`, that are not there: what stands in the
/// map itself counts, then the maps in their order.
fn merge(fields: &mut Vec<(String, At, Node)>, node: Node) -> Result<(), Problem> {
    let at = node.at;
    match node.value {
        Value::Map(more) => {
            for field in more {
                if !fields.iter().any(|(name, _, _)| *name == field.0) {
                    fields.push(field);
                }
            }
            Ok(())
        }
        Value::List(items) => {
            for item in items {
                let at = item.at;
                match item.value {
                    Value::Map(_) => merge(fields, item)?,
                    Value::List(_) | Value::Scalar { .. } => return Err(no_map(at)),
                }
            }
            Ok(())
        }
        Value::Scalar { .. } => Err(no_map(at)),
    }
}

fn no_map(at: At) -> Problem {
    let text = "only keys and values can be merged (`<<: *name`)".to_owned();
    problem(at.line, at.column, at.width, text)
}

/// The next event that is no comment.
fn next<'a>(events: &mut Events<'a>) -> Result<(Event<'a>, Span), Problem> {
    loop {
        match events.next() {
            Some(Ok((Event::Comment(..), _))) => {}
            Some(Ok(next)) => return Ok(next),
            Some(Err(error)) => {
                let marker = error.marker();
                return Err(problem(marker.line(), marker.col() + 1, 1, error.info()));
            }
            None => return Err(problem(0, 0, 0, "the text ends too early".to_owned())),
        }
    }
}

fn count(node: &Node) -> usize {
    match &node.value {
        Value::Scalar { .. } => 1,
        Value::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Map(fields) => 1 + fields.iter().map(|(_, _, node)| count(node)).sum::<usize>(),
    }
}

fn place(span: Span) -> At {
    let one_line = span.start.line() == span.end.line();
    let width = if one_line {
        span.end.col().saturating_sub(span.start.col())
    } else {
        1
    };
    At {
        line: span.start.line(),
        column: span.start.col() + 1,
        width: width.max(1),
        several_lines: !one_line,
    }
}

fn problem(line: usize, column: usize, width: usize, text: String) -> Problem {
    Problem {
        at: At {
            line,
            column,
            width,
            several_lines: false,
        },
        text,
        hint: None,
    }
}
