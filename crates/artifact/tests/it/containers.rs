//! Every kind of container, made by the tools that people use.

use std::{fs, path::Path};

use crate::support::{
    REGULAR, cert_pem, cpio, findings, gzip, have, key_pem, rpm, sh, tar, tar_open, word, words, words_of, words_of_file, zip, zipped,
};

/// A folder `d` with a certificate, a key, and something large that is neither.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let d = folder.path().join("d/deep");
    fs::create_dir_all(&d).unwrap();
    fs::write(folder.path().join("d/a.pem"), cert_pem()).unwrap();
    fs::write(d.join("b.key"), key_pem()).unwrap();
    let noise: Vec<u8> = (0..700_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]).collect();
    fs::write(folder.path().join("d/noise"), noise).unwrap();
    folder
}

/// Makes something in the folder, and finds both in it, at these places.
fn check(tools: &[&str], line: &str, name: &str, certificate: &str, key: &str) {
    if !tools.iter().all(|tool| have(tool, line)) {
        return;
    }
    let folder = folder();
    sh(folder.path(), line);
    let mut expected = vec![format!("{certificate}: CN=one.example pem"), format!("{key}: clear PKCS#8 pem")];
    expected.sort();
    let mut got = words(&folder.path().join(name));
    got.sort();
    assert_eq!(got, expected, "{line}");
    // The same as a stream, as it is inside of others.
    let mut got = words_of(&fs::read(folder.path().join(name)).unwrap());
    got.sort();
    assert_eq!(got, expected, "{line}, as a stream");
}

#[test]
fn tars() {
    let (a, b) = ("!d/a.pem", "!d/deep/b.key");
    for format in ["v7", "ustar", "gnu", "pax"] {
        check(&["tar"], &format!("tar cf x --format={format} d"), "x", a, b);
    }
    check(&["tar"], "tar czf x d", "x", a, b);
    check(&["tar", "xz"], "tar cJf x d", "x", a, b);
    check(&["tar", "bzip2"], "tar cjf x d", "x", a, b);
    check(&["tar", "bzip2"], "tar c d > y; (head -c 1000 y | bzip2; tail -c +1001 y | bzip2 -1) > x", "x", a, b);
    check(&["tar", "xz"], "tar c d | xz -9 --block-size=100KiB > x", "x", a, b);
    check(&["tar", "zstd"], "tar c d | zstd -q -19 > x", "x", a, b);
    check(&["tar", "zstd"], "tar c d | zstd -q --long=27 -B100000 > x", "x", a, b);
    check(&["tar"], "cd d && tar cf ../x .", "x", "!./a.pem", "!./deep/b.key");
    // Two tars in one file, two members in one gzip, two frames.
    check(&["tar", "zstd"], "(cd d && tar c a.pem | head -c 1536 | zstd -q; tar c deep | zstd -q) > x", "x", "!a.pem", "!deep/b.key");
    check(&["tar", "gzip"], "tar c d > y; (head -c 1000 y | gzip; tail -c +1001 y | gzip) > x", "x", a, b);
}

#[test]
fn long_names_in_all_their_ways() {
    let long = format!("{}/x.pem", "directory-with-a-name/".repeat(11));
    for format in ["gnu", "pax"] {
        if !have("tar", "long names") {
            return;
        }
        let folder = folder();
        sh(folder.path(), &format!("mkdir -p $(dirname {long}) && cp d/a.pem {long} && tar cf x --format={format} {long}"));
        assert_eq!(words(&folder.path().join("x")), [format!("!{long}: CN=one.example pem")], "{format}");
    }
    // ustar splits at a slash.
    let mut split = crate::support::header("x.pem", b'0', cert_pem().len() as u64);
    split[345..350].copy_from_slice(b"pre/f");
    crate::support::sign(&mut split);
    split.extend(cert_pem().as_bytes());
    assert_eq!(words_of(&split), ["!pre/f/x.pem: CN=one.example pem"]);
}

#[test]
fn sparse_files_in_tars() {
    for options in ["-S --format=gnu", "-S --format=pax", "-S --format=pax --sparse-version=0.1", "-S --format=pax --sparse-version=0.0"] {
        if !have("tar", "sparse files") {
            return;
        }
        let folder = folder();
        // Many holes, so that the old format needs more than one header for them, and DER at the very beginning.
        let certificate = crate::support::paper().certificate.der();
        fs::write(folder.path().join("c.der"), certificate).unwrap();
        sh(
            folder.path(),
            &format!(
                "cp c.der s; truncate -s 1G s; for n in 10 20 30 40 50 60 70 80 90; do dd if=d/a.pem of=s bs=1M seek=$n conv=notrunc 2>/dev/null; done; \
                 cp d/a.pem z.pem; tar c {options} -f x s z.pem"
            ),
        );
        let got = words(&folder.path().join("x"));
        let count = |wanted: &str| got.iter().filter(|word| *word == wanted).count();
        assert_eq!(
            (count("!s: CN=one.example der"), count("!s: CN=one.example pem"), count("!z.pem: CN=one.example pem"), got.len()),
            (1, 9, 1, 11),
            "{options}: {got:?}"
        );
    }
}

#[test]
fn a_file_with_holes_is_read_without_them() {
    let folder = folder();
    sh(folder.path(), "truncate -s 1T s; dd if=d/a.pem of=s bs=1M seek=700000 conv=notrunc 2>/dev/null");
    let (found, summary) = findings(&folder.path().join("s"), &artifact::Limits::default(), &[]);
    assert_eq!(found.len(), 1);
    assert!(summary.bytes < 1024 * 1024, "{summary:?}");
}

#[test]
fn zips_and_jars() {
    let (a, b) = ("!d/a.pem", "!d/deep/b.key");
    check(&["zip"], "zip -qr x.zip d", "x.zip", a, b);
    check(&["zip"], "zip -q0r x.zip d", "x.zip", a, b);
    // To a pipe: sizes follow the data.
    check(&["zip"], "zip -qr - d > x", "x", a, b);
    check(&["zip"], "zip -q -fz -r - d > x", "x", a, b);
    check(&["zip"], "zip -qr x.zip d; printf 'comment' | zip -qz x.zip", "x.zip", a, b);
    check(&["jar"], "jar cf x.jar d", "x.jar", a, b);
    check(&["jar"], "jar c0f x.jar d", "x.jar", a, b);
}

#[test]
fn a_zip_behind_a_program() {
    if !have("zip", "zips that unpack themselves") {
        return;
    }
    let folder = folder();
    // With places that count from the zip, and from the file.
    sh(folder.path(), "zip -qr y.zip d; { printf '#!/bin/sh\\nexit\\n'; cat d/a.pem y.zip; } > x; cp x z; zip -qA z 2>/dev/null || true");
    for name in ["x", "z"] {
        let got = words(&folder.path().join(name));
        assert_eq!(got, [": CN=one.example pem", "!d/a.pem: CN=one.example pem", "!d/deep/b.key: clear PKCS#8 pem"], "{name}");
    }
}

/// Wherever it lies: what begins as a program and ends as a zip is looked into, and anything else that ends so is told.
#[test]
fn a_zip_behind_a_program_inside_of_something_else() {
    let (cert, key) = (cert_pem(), key_pem());
    let inner = zip(&[zipped("in.key", key.as_bytes())]);
    let found = ["!in.key: clear PKCS#8 pem", ": CN=one.example pem"];
    for start in ["#!/bin/sh\nexec java -jar $0\n", "MZ\u{1}", "\u{7f}ELF\n"] {
        let program = [start.as_bytes(), cert.as_bytes(), b"\n", &inner].concat();
        let mut commented = [&program[..program.len() - 2], &[2, 0], b"hi"].concat();
        let last = commented.len();
        for program in [&program, &commented] {
            let at = |path: &str| found.map(|word| format!("{path}{word}"));
            let check = |got: Vec<String>, path: &str| {
                let mut got = got;
                got.sort();
                assert_eq!(got, at(path), "{start:?}");
            };
            check(words_of(program), "");
            check(words_of_file(program), "");
            check(words_of(&tar(&[("run", program)])), "!run");
            check(words_of(&gzip(&tar(&[("run", program)]))), "!run");
            check(words_of_file(&zip(&[zipped("app.jar", program)])), "!app.jar");
        }
        // One that is too large to hold is said, like one that begins with something else.
        let limits = artifact::Limits { buffered_zip_bytes: 100, ..Default::default() };
        let (got, _) = crate::support::within(&tar(&[("run", &program)]), &limits);
        assert_eq!(got, ["!run: CN=one.example pem", "!run: clear PKCS#8 pem", "!run: ! unsupported"], "{start:?}");
        commented.truncate(last - 1);
        assert_eq!(words_of(&commented).len(), 2, "a comment that is cut off: searched as it stands");
    }
    let other = [b"any text\n", cert.as_bytes(), &inner].concat();
    assert_eq!(words_of(&other), [": CN=one.example pem", ": clear PKCS#8 pem", ": ! unsupported"]);
    let large = [b"any text\n", cert.as_bytes(), &vec![b'.'; 400_000], &inner[..inner.len() - 2], &[3, 0], b"odd"].concat();
    let mut got = words_of_file(&large);
    got.sort();
    assert_eq!(got, found, "of a file the end is known");
}

#[test]
fn a_large_zip_in_a_stream_is_read_in_order() {
    if !have("zip", "zips in streams") {
        return;
    }
    let limits = artifact::Limits { buffered_zip_bytes: 100, ..Default::default() };
    for line in ["zip -qr x.zip d", "zip -q0r x.zip d", "zip -qr - d > x.zip", "zip -q -fz -r - d > x.zip"] {
        let folder = folder();
        sh(folder.path(), line);
        let (mut got, _) = crate::support::within(&fs::read(folder.path().join("x.zip")).unwrap(), &limits);
        got.sort();
        assert_eq!(got, ["!d/a.pem: CN=one.example pem", "!d/deep/b.key: clear PKCS#8 pem", ": ! not-compared"], "{line}");
    }
}

#[test]
fn packages() {
    let control = "mkdir -p p/DEBIAN p/etc && printf 'Package: x\\nVersion: 1\\nArchitecture: all\\nMaintainer: a <a@b>\\nDescription: x\\n' \
                   > p/DEBIAN/control && cp d/a.pem d/deep/b.key p/etc";
    for packing in ["gzip", "xz", "none"] {
        let member = match packing {
            "gzip" => "data.tar.gz",
            "xz" => "data.tar.xz",
            _ => "data.tar",
        };
        let (a, b) = (format!("!{member}!./etc/a.pem"), format!("!{member}!./etc/b.key"));
        check(&["dpkg-deb"], &format!("{control} && dpkg-deb -Z{packing} --build p x.deb >/dev/null"), "x.deb", &a, &b);
    }
    check(&["ar"], "ar rc x d/a.pem d/deep/b.key", "x", "!a.pem", "!b.key");
    let long = "a-name-longer-than-sixteen.pem";
    check(&["ar"], &format!("cp d/a.pem {long} && ar rc x {long} d/deep/b.key"), "x", &format!("!{long}"), "!b.key");
    // As BSD writes long names.
    let pem = cert_pem();
    let member =
        format!("{:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n{long}{pem}", format!("#1/{}", long.len()), 0, 0, 0, 644, long.len() + pem.len());
    assert_eq!(words_of(format!("!<arch>\n{member}").as_bytes()), [format!("!{long}: CN=one.example pem")]);
}

#[test]
fn packages_of_rpm_and_cpio() {
    let (cert, key) = (cert_pem(), key_pem());
    let archive = cpio(&[
        ("./d", 0o040_755, b""),
        ("./d/a.pem", REGULAR, cert.as_bytes()),
        ("link", 0o120_777, b"./d/a.pem"),
        ("b.key", REGULAR, key.as_bytes()),
    ]);
    let both = ["!./d/a.pem: CN=one.example pem", "!b.key: clear PKCS#8 pem"];
    assert_eq!(words_of(&archive), both);
    assert_eq!(words_of_file(&gzip(&archive)), both);
    assert_eq!(words_of(&rpm(&gzip(&archive))), [&["!(header): CN=one.example pem"], &both[..]].concat());
    assert_eq!(words_of(&cpio(&[("../../x", REGULAR, cert.as_bytes())])), ["!../../x: ! odd-name", "!../../x: CN=one.example pem"]);
    // As kernels boot: filled up with zeros, and the next one packed.
    let early = [cpio(&[("a.pem", REGULAR, cert.as_bytes())]), vec![0; 1000], gzip(&archive)].concat();
    let rest = both.map(|word| format!("!(trailing bytes){word}"));
    assert_eq!(words_of(&early), [&["!a.pem: CN=one.example pem".into(), ": ! trailing-bytes".into()], &rest[..]].concat());
    check(&["cpio"], "find d | cpio -o -H newc > x 2>/dev/null", "x", "!d/a.pem", "!d/deep/b.key");
    check(&["cpio"], "find d | cpio -o -H odc > x 2>/dev/null", "x", "!d/a.pem", "!d/deep/b.key");
}

#[test]
fn plain_streams_and_one_in_the_other() {
    for (tool, line) in [("gzip", "gzip"), ("xz", "xz"), ("zstd", "zstd -q"), ("bzip2", "bzip2")] {
        if have(tool, line) {
            let folder = folder();
            sh(folder.path(), &format!("{line} < d/a.pem > x"));
            assert_eq!(words(&folder.path().join("x")), [": CN=one.example pem"], "{line}");
        }
    }
    check(
        &["zip", "tar", "xz", "zstd"],
        "zip -qr y.zip d && tar cJf y.txz y.zip && zstd -q y.txz && tar czf x y.txz.zst",
        "x",
        "!y.txz.zst!y.zip!d/a.pem",
        "!y.txz.zst!y.zip!d/deep/b.key",
    );
}

#[test]
fn what_follows_an_archive_is_looked_at_and_told() {
    let (pem, one) = (cert_pem(), tar(&[("a", b"x")]));
    let two = [one.clone(), tar(&[("b", pem.as_bytes())])].concat();
    assert_eq!(words_of(&two), [": ! trailing-bytes", "!b: CN=one.example pem"]);
    let text = [one, pem.clone().into_bytes()].concat();
    assert_eq!(words_of(&text), [": ! trailing-bytes", "!(trailing bytes): CN=one.example pem"]);
    let packed = [gzip(b"x"), pem.clone().into_bytes()].concat();
    assert_eq!(words_of(&packed), [": ! trailing-bytes", "!(trailing bytes): CN=one.example pem"]);
    let padded = [gzip(pem.as_bytes()), vec![0; 5000]].concat();
    assert_eq!(words_of(&padded), [": CN=one.example pem"]);
}

#[test]
fn folders_are_read_in_order_and_links_are_not_followed() {
    let folder = folder();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret.pem"), cert_pem()).unwrap();
    sh(
        folder.path(),
        &format!(
            "ln -s {0}/secret.pem d/link.pem; ln -s {0} d/out; ln -s . d/loop; ln -s ../.. d/deep/up; ln -s nowhere d/dangling; mkfifo d/pipe; \
             tar cf t.tar d; mv t.tar d/",
            outside.path().display()
        ),
    );
    let got = words(&folder.path().join("d"));
    let expected = [
        "/a.pem: CN=one.example pem",
        "/deep/b.key: clear PKCS#8 pem",
        "/t.tar!d/a.pem: CN=one.example pem",
        "/t.tar!d/deep/b.key: clear PKCS#8 pem",
    ];
    assert_eq!(got, expected);
    // What the caller names is followed.
    assert_eq!(words(&folder.path().join("d/link.pem")), [": CN=one.example pem"]);
    assert_eq!(words(&folder.path().join("d/out")), ["/secret.pem: CN=one.example pem"]);
    assert_eq!(words(Path::new("/nonexistent/x")), [": ! unreadable"]);
}

#[test]
fn a_path_says_where_in_words_that_cannot_deceive() {
    let pem = cert_pem();
    let names = ["../../etc/x.pem", "wow!/y.pem", "\u{1b}[31mz", "a\u{202e}b"];
    let entries: Vec<_> = names.iter().map(|name| (*name, pem.as_bytes())).collect();
    let expected = [
        "!../../etc/x.pem: ! odd-name",
        "!../../etc/x.pem: CN=one.example pem",
        "!wow\\u{21}/y.pem: CN=one.example pem",
        "!\\u{1b}[31mz: CN=one.example pem",
        "!a\\u{202e}b: CN=one.example pem",
    ];
    assert_eq!(words_of(&tar(&entries)), expected);
    let zipped: Vec<_> = entries.iter().map(|(name, data)| zipped(name, data)).collect();
    let mut got = words_of_file(&zip(&zipped));
    got.sort();
    let mut expected = expected.map(str::to_owned);
    expected.sort();
    assert_eq!(got, expected);
}

#[test]
fn offsets_lead_to_the_block() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x");
    for before in [0usize, 1, 262_100, 262_143, 262_144, 300_000, 1_000_000] {
        let text = [vec![b'.'; before], cert_pem().into_bytes(), vec![b'.'; 10]].concat();
        fs::write(&path, &text).unwrap();
        let (found, _) = findings(&path, &artifact::Limits::default(), &[]);
        assert_eq!(found.iter().map(|one| one.offset).collect::<Vec<_>>(), [Some(before as u64)]);
        assert_eq!(word(&found[0], ""), format!("{}: CN=one.example pem", path.display()));
    }
    assert_eq!(words_of(&tar_open(&[("a", cert_pem().as_bytes())])).len(), 1);
}
