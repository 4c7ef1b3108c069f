//! Just enough of Rust's lexical grammar to search code without being fooled by its comments,
//! its texts, or longer names that contain a shorter one.

/// The code with comments, texts and characters blanked out; lines keep their numbers.
pub fn code_only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(next) = rest.chars().next() {
        let length = opaque_length(rest, &code);
        let taken = if length == 0 { next.len_utf8() } else { length };
        if length == 0 {
            code.push(next);
        } else {
            blank(&rest[..taken], &mut code);
        }
        rest = &rest[taken..];
    }
    code
}

/// The code without what exists only under test; expects what [`code_only`] returns.
pub fn without_test_items(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let (before, item) = rest.split_at(at);
        kept.push_str(before);
        let (item, after) = item.split_at(item_length(item));
        blank(item, &mut kept);
        rest = after;
    }
    kept + rest
}

/// Whether a word stands in the line by itself, not as a part of a longer name.
pub fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(in_name) && (!word.ends_with(in_name) || !after.is_some_and(in_name))
    })
}

/// How many bytes of a comment, text or character begin here; 0 if code does.
fn opaque_length(rest: &str, before: &str) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment_length(rest);
    }
    if rest.starts_with('"') {
        return quoted_length(rest, '"');
    }
    if rest.starts_with('\'') {
        return character_length(rest);
    }
    // `r` begins a raw text only as a prefix (`r`, `br`, `cr`), not at the end of a name.
    let prefix = before.trim_end_matches(['b', 'c']);
    if rest.starts_with('r') && !prefix.ends_with(in_name) { raw_length(rest) } else { 0 }
}

fn block_comment_length(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, it) in rest.char_indices().skip(1) {
        if !escaped && it == quote {
            return at + 1;
        }
        escaped = !escaped && it == '\\';
    }
    rest.len()
}

/// A quote begins a character if one follows and is closed at once; else it is a lifetime.
fn character_length(rest: &str) -> usize {
    let mut chars = rest.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted_length(rest, '\''),
        _ => 0,
    }
}

fn raw_length(rest: &str) -> usize {
    let hashes = rest[1..].bytes().take_while(|it| *it == b'#').count();
    let begin = 1 + hashes;
    if !rest[begin..].starts_with('"') {
        return 0;
    }
    let end = format!("\"{}", "#".repeat(hashes));
    rest[begin + 1..].find(&end).map_or(rest.len(), |it| begin + 1 + it + end.len())
}

/// An item ends at its semicolon, or at the brace that closes its first brace.
fn item_length(item: &str) -> usize {
    let mut depth = 0;
    for (at, it) in item.char_indices() {
        match it {
            '{' => depth += 1,
            '}' => depth -= 1,
            ';' => {}
            _ => continue,
        }
        if depth == 0 {
            return at + 1;
        }
    }
    item.len()
}

fn blank(text: &str, code: &mut String) {
    code.extend(text.chars().map(|it| if it == '\n' { '\n' } else { ' ' }));
}

fn in_name(it: char) -> bool {
    it.is_alphanumeric() || it == '_'
}
