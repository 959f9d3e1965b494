//! The floors of each crate, as ARCHITECTURE.md lists them: a module uses modules of lower floors only.
//!
//! What counts is every path that begins with `crate` (or with as many `super`s as lead there) in what is
//! built without `cfg(test)`. The items of `lib.rs` itself are the roof: nothing below uses them.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The floors of a crate by module, counted from the lowest.
type Floors = BTreeMap<String, usize>;

#[test]
fn no_module_uses_one_above_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(root.join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let listed = floors_of_crates(&text);
    let mut faults = Vec::new();
    let mut crates = BTreeSet::new();
    for entry in fs::read_dir(&root).expect("the workspace") {
        let folder = entry.expect("an entry").path();
        let name = file_name(&folder);
        // Fuzz targets are a workspace of their own.
        if name != "fuzz" && folder.join("src/lib.rs").is_file() {
            let floors = listed.get(&name).cloned().unwrap_or_default();
            faults.extend(faults_of_crate(&name, &folder.join("src"), &floors));
            crates.insert(name);
        }
    }
    let gone = listed.keys().filter(|name| !crates.contains(*name));
    faults.extend(gone.map(|name| format!("{name}: ARCHITECTURE.md lists a crate that is gone")));
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Reads the block ```` ```floors ````: the name of a crate and a colon, then its floors from the highest
/// to the lowest, a line each.
fn floors_of_crates(text: &str) -> BTreeMap<String, Floors> {
    let block = text.split("```floors\n").nth(1).expect("a block of floors");
    let block = block.split("```").next().expect("the end of the block");
    let mut crates = BTreeMap::<String, Floors>::new();
    let mut name = String::new();
    // From the end, so that the lowest floor is counted first.
    let mut floors = Vec::new();
    for line in block.lines().filter(|line| !line.trim().is_empty()) {
        if let Some(next) = line.strip_suffix(':') {
            crates.insert(
                std::mem::replace(&mut name, next.to_owned()),
                numbered(&floors),
            );
            floors.clear();
        } else {
            floors.push(line);
        }
    }
    crates.insert(name, numbered(&floors));
    crates.remove("");
    crates
}

fn numbered(floors: &[&str]) -> Floors {
    let mut found = Floors::new();
    for (number, floor) in floors.iter().rev().enumerate() {
        for module in floor.split_whitespace() {
            let before = found.insert(module.to_owned(), number);
            assert_eq!(before, None, "{module} is on two floors");
        }
    }
    found
}

fn faults_of_crate(name: &str, source: &Path, floors: &Floors) -> Vec<String> {
    let mut faults = BTreeSet::new();
    let mut modules = BTreeSet::new();
    for (path, file) in files_below(source) {
        let module = path[0].clone();
        if path.len() == 1 && (module == "lib" || module == "main") {
            continue;
        }
        let own = floors.get(&module);
        let text = fs::read_to_string(&file).expect("a source file");
        for used in arrows(&text, path.len()) {
            let is_below = floors.get(&used) < own && floors.contains_key(&used);
            if used != module && own.is_some() && !is_below {
                faults.insert(format!(
                    "{name}: {module} uses {used}, in {}",
                    file.display()
                ));
            }
        }
        modules.insert(module);
    }
    let unlisted = modules
        .iter()
        .filter(|module| !floors.contains_key(*module));
    faults.extend(
        unlisted.map(|module| format!("{name}: {module} is on no floor of ARCHITECTURE.md")),
    );
    let gone = floors.keys().filter(|module| !modules.contains(*module));
    faults.extend(
        gone.map(|module| format!("{name}: ARCHITECTURE.md lists {module}, which is gone")),
    );
    faults.into_iter().collect()
}

/// Every source file below a folder, with its place in the tree of modules.
pub(crate) fn files_below(source: &Path) -> Vec<(Vec<String>, std::path::PathBuf)> {
    let mut found = Vec::new();
    let mut folders = vec![source.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let relative = path
                    .strip_prefix(source)
                    .expect("a path below")
                    .with_extension("");
                let parts = relative
                    .components()
                    .map(|part| part.as_os_str().display().to_string());
                found.push((parts.collect(), path));
            }
        }
    }
    found
}

fn file_name(path: &Path) -> String {
    path.file_name().expect("a name").display().to_string()
}

/// The names below `crate` that a file uses, which lies `depth` modules deep.
fn arrows(text: &str, depth: usize) -> BTreeSet<String> {
    let tokens: TokenStream = text.parse().expect("Rust");
    let mut found = BTreeSet::new();
    collect(tokens, depth, &mut found);
    found
}

fn collect(tokens: TokenStream, depth: usize, found: &mut BTreeSet<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut place = 0;
    while let Some(token) = tokens.get(place) {
        if is_for_tests_only(&tokens[place..]) {
            place += length_of_item(&tokens[place..]);
            continue;
        }
        let up = steps_to_the_root(&tokens[place..], depth);
        if let Some(after) = up.and_then(|up| tokens.get(place + up)) {
            found.extend(first_names(after));
        }
        if let TokenTree::Group(group) = token {
            collect(group.stream(), depth, found);
        }
        place += 1;
    }
}

/// How many tokens of a path lead to the root of the crate: `crate ::`, or as many `super ::` as the file
/// is deep.
fn steps_to_the_root(tokens: &[TokenTree], depth: usize) -> Option<usize> {
    let is_step = |word: &str, tokens: &[TokenTree]| {
        matches!(tokens, [TokenTree::Ident(ident), TokenTree::Punct(a), TokenTree::Punct(b), ..]
            if ident == word && a.as_char() == ':' && b.as_char() == ':')
    };
    if is_step("crate", tokens) {
        return Some(3);
    }
    let supers = tokens.chunks(3).take_while(|step| is_step("super", step));
    (supers.count() >= depth).then_some(3 * depth)
}

/// The name after `crate::`, or the first of each path in braces there.
fn first_names(after: &TokenTree) -> Vec<String> {
    match after {
        TokenTree::Ident(ident) => vec![ident.to_string()],
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
            let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
            let paths = tokens
                .split(|token| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ','));
            paths
                .filter_map(|path| path.first().map(ToString::to_string))
                .collect()
        }
        _ => Vec::new(),
    }
}

pub(crate) fn is_for_tests_only(tokens: &[TokenTree]) -> bool {
    matches!(tokens, [TokenTree::Punct(hash), TokenTree::Group(attribute), ..]
        if hash.as_char() == '#' && attribute.stream().to_string().replace(' ', "") == "cfg(test)")
}

/// How many tokens there are to the end of an item: its body or its semicolon.
pub(crate) fn length_of_item(tokens: &[TokenTree]) -> usize {
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(mark) => mark.as_char() == ';',
        _ => false,
    };
    tokens
        .iter()
        .position(ends)
        .map_or(tokens.len(), |last| last + 1)
}

#[test]
fn paths_are_found_wherever_they_stand() {
    let text = r#"
        //! Not in [`crate::comment`].
        use crate::{one::{A, B}, two, three as other};
        #[cfg(test)]
        use crate::for_tests;
        pub(crate) fn of(x: crate::four::X) { vec![crate::five::f("crate::text")]; super::six::g(); }
        #[cfg(test)]
        mod tests { use crate::for_tests; }
        use crate::seven;
    "#;
    let names = |depth| Vec::from_iter(arrows(text, depth));
    assert_eq!(
        names(1),
        ["five", "four", "one", "seven", "six", "three", "two"]
    );
    // One module deeper, `super` is a module of the same floor.
    assert_eq!(names(2), ["five", "four", "one", "seven", "three", "two"]);
}
