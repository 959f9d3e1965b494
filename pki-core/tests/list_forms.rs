//! Lists as other programs write them: separators, encodings, ends of lines, names of columns.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use pki_core::bulk::input::{
    BadLine, Device, DeviceList, ListEncoding, ListForm, Place, Separator,
};

/// The devices of a list of this form.
fn read(list: &[u8], form: &ListForm) -> Vec<Result<Device, BadLine>> {
    DeviceList::open(list, form).expect("readable").collect()
}

/// ID and labels of each device, of a list in which all are sound.
fn devices(list: &[u8], form: &ListForm) -> Vec<(String, Vec<(String, String)>)> {
    let devices = read(list, form)
        .into_iter()
        .map(|device| device.expect("sound"));
    devices
        .map(|device| (device.id.to_string(), device.labels))
        .collect()
}

fn label(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn written_in(encoding: ListEncoding) -> ListForm {
    ListForm {
        encoding: Some(encoding),
        ..ListForm::default()
    }
}

fn utf_16(text: &str, octets: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(octets).collect()
}

#[test]
fn the_header_tells_the_separator() {
    let expected = [
        ("pump-1".to_owned(), vec![label("site", "Ulm, Nord")]),
        ("pump-2".to_owned(), vec![label("site", "Köln")]),
    ];
    for (separator, name, site) in [
        (",", Separator::Comma, "\"Ulm, Nord\""),
        (";", Separator::Semicolon, "Ulm, Nord"),
        ("\t", Separator::Tab, "Ulm, Nord"),
    ] {
        let list = format!(
            "site{separator}registration_id\r\n{site}{separator}pump-1\r\nKöln{separator}pump-2\r\n"
        );
        assert_eq!(devices(list.as_bytes(), &ListForm::default()), expected);
        let list = DeviceList::open(list.as_bytes(), &ListForm::default()).expect("readable");
        assert_eq!(list.separator(), name);
    }
}

/// What holds most columns is not always what separates them.
#[test]
fn the_column_of_ids_tells_more_than_the_number_of_columns() {
    let list = b"\"a,b,c,d\";registration_id\nx;pump-1\n";
    let found = devices(list, &ListForm::default());
    assert_eq!(found, [("pump-1".to_owned(), vec![label("a,b,c,d", "x")])]);
    let told = ListForm {
        separator: Some(Separator::Comma),
        ..ListForm::default()
    };
    let wrong = read(b"registration_id;site\npump-1;Ulm\n", &told);
    let bad = wrong[0].as_ref().expect_err("no separator of this list");
    assert_eq!(bad.place, Place::Line(1));
    let wrong = read(b"Werk;Serial\nUlm;pump-1\n", &ListForm::default());
    let bad = wrong[0].as_ref().expect_err("no IDs");
    assert_eq!(bad.value, "Werk;Serial", "as it stands in the list");
}

#[test]
fn a_column_of_another_name_may_hold_the_ids() {
    let form = ListForm {
        id_column: Some("Seriennummer".to_owned()),
        ..ListForm::default()
    };
    let list = "Werk;Seriennummer;validity\nUlm;pump-1;\nKöln;pump-2;30d\n";
    let found: Vec<Device> = read(list.as_bytes(), &form)
        .into_iter()
        .map(|device| device.expect("sound"))
        .collect();
    assert_eq!(found[0].id.as_str(), "pump-1");
    assert_eq!(found[0].labels, [label("Werk", "Ulm")]);
    assert!(found[1].validity.is_some());

    let alone = devices(b"Seriennummer\npump-1\n", &form);
    assert_eq!(alone, [("pump-1".to_owned(), Vec::new())]);

    for (list, reason) in [
        (
            "Werk;Serial\nUlm;pump-1\n",
            "several columns (separated by semicolons) need a header with Seriennummer",
        ),
        (
            "Serien-Nummer;Werk\npump-1;Ulm\n",
            "did you mean \"Seriennummer\"?",
        ),
        ("pump-1\npump-2\n", "no column is called \"Seriennummer\""),
    ] {
        let told = read(list.as_bytes(), &form);
        let bad = told[0].as_ref().expect_err(list);
        assert!(bad.reason.contains(reason), "{bad}");
        assert_eq!(told.len(), 1, "what follows a wrong header means nothing");
    }
}

#[test]
fn encodings_are_told_by_their_mark_or_by_a_person() {
    let text = "registration_id;Ort\r\npump-1;Köln\r\n";
    let expected = [("pump-1".to_owned(), vec![label("Ort", "Köln")])];
    let marked = |octets| utf_16(&format!("\u{feff}{text}"), octets);
    let anything = ListForm::default();
    assert_eq!(
        devices(format!("\u{feff}{text}").as_bytes(), &anything),
        expected
    );
    assert_eq!(devices(&marked(u16::to_le_bytes), &anything), expected);
    assert_eq!(devices(&marked(u16::to_be_bytes), &anything), expected);
    // A mark is surer than what was said.
    let windows = written_in(ListEncoding::Windows1252);
    assert_eq!(devices(&marked(u16::to_le_bytes), &windows), expected);

    let unmarked = utf_16(text, u16::to_le_bytes);
    assert_eq!(
        devices(&unmarked, &written_in(ListEncoding::Utf16Le)),
        expected
    );
    let unmarked = utf_16(text, u16::to_be_bytes);
    assert_eq!(
        devices(&unmarked, &written_in(ListEncoding::Utf16Be)),
        expected
    );
    assert_eq!(
        devices(b"registration_id;Ort\npump-1;K\xf6ln\n", &windows),
        expected
    );
}

#[test]
fn another_encoding_is_told_and_never_guessed() {
    let told = |list: &[u8], form: &ListForm| {
        let read = read(list, form);
        let bad = read.into_iter().find_map(Result::err).expect("a bad line");
        (bad.place, bad.reason)
    };
    let (place, reason) = told(
        b"registration_id,Ort\na,Ulm\nb,K\xf6ln\n",
        &ListForm::default(),
    );
    assert_eq!(place, Place::Line(3));
    assert!(reason.contains("--encoding windows-1252"), "{reason}");
    let (_, reason) = told(
        &utf_16("a-1\na-2\n", u16::to_le_bytes),
        &ListForm::default(),
    );
    assert!(reason.contains("--encoding utf-16"), "{reason}");
    // Half of a pair means nothing, and is not replaced by something that looks like text.
    let mut broken = utf_16("registration_id,Ort\na,U", u16::to_le_bytes);
    broken.extend([0x00, 0xd8]);
    broken.extend(utf_16("lm\n", u16::to_le_bytes));
    let (place, reason) = told(&broken, &written_in(ListEncoding::Utf16Le));
    assert_eq!(
        (place, reason.as_str()),
        (Place::Line(2), "it is not UTF-16")
    );
}

#[test]
fn lines_may_end_in_a_carriage_return_alone() {
    let form = ListForm::default();
    let list = b"registration_id;site\rpump-1;Ulm\rtwo words;Ulm\rpump-3;Ulm";
    let read = read(list, &form);
    assert_eq!(read.len(), 3);
    assert_eq!(read[0].as_ref().expect("sound").place, Place::Line(2));
    assert_eq!(read[1].as_ref().expect_err("bad").place, Place::Line(3));
    let ids = devices(b"\r\rpump-1\rpump-2\r", &form);
    assert_eq!(ids.len(), 2);
}

/// The header is looked at beforehand; what comes behind the part that was looked at is read as well.
#[test]
fn a_list_longer_than_what_is_looked_at_is_read_to_its_end() {
    let body: String = (0..20_000)
        .map(|number| format!("pump-{number};Köln\r\n"))
        .collect();
    let list = format!("registration_id;site\r\n{body}");
    let octets = utf_16(&format!("\u{feff}{list}"), u16::to_le_bytes);
    for list in [list.into_bytes(), octets] {
        let found = devices(&list, &ListForm::default());
        assert_eq!(found.len(), 20_000);
        assert_eq!(
            found[19_999],
            ("pump-19999".to_owned(), vec![label("site", "Köln")])
        );
    }
}
