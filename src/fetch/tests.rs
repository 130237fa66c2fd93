use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use md5::{Digest, Md5};

use super::*;
use crate::hex::hex;

/// What a server does with the request number `.0`, which asks for `.1` from byte
/// `.2` on.
type Answer = dyn Fn(usize, &str, Option<usize>, &mut TcpStream) -> io::Result<()> + Send + Sync;

/// A server on this computer; its address.
fn serve(answer: Box<Answer>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let count = AtomicUsize::new(0);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            let path = first.split(' ').nth(1).unwrap().to_owned();
            let mut start = None;
            for line in lines.map_while(Result::ok).take_while(|line| !line.is_empty()) {
                let line = line.to_lowercase();
                if let Some(range) = line.strip_prefix("range: bytes=") {
                    start = range.trim_end_matches('-').parse().ok();
                }
            }
            // A client that has gone is none of the test's failures.
            let _ = answer(count.fetch_add(1, Ordering::SeqCst), &path, start, &mut stream);
        }
    });
    address
}

fn whole(bytes: &[u8], stream: &mut TcpStream) -> io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        bytes.len()
    )?;
    stream.write_all(bytes)
}

fn rest(bytes: &[u8], start: usize, stream: &mut TcpStream) -> io::Result<()> {
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{}\r\nConnection: \
         close\r\n\r\n",
        bytes.len() - start,
        bytes.len() - 1,
        bytes.len()
    )?;
    stream.write_all(&bytes[start..])
}

const PATIENCE: Patience = Patience {
    attempts: 3,
    pause: Duration::from_millis(1),
    silence: Duration::from_millis(500),
};

/// 300 kB that differ everywhere.
fn content() -> Vec<u8> {
    (0..300_000_u32)
        .map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

fn data(urls: &[String], bytes: &[u8]) -> Published {
    Published {
        name: "images".into(),
        title: "Images".into(),
        files: vec![PublishedFile {
            urls: urls.iter().map(|url| format!("{url}/all.bin")).collect(),
            md5: hex(&Md5::digest(bytes)),
        }],
    }
}

fn get(data: &Published, place: &Path) -> Result<Fetched, FetchError> {
    fetch(data, place, &PATIENCE, &StopToken::default(), &mut |_| {})
}

#[test]
fn the_list_is_complete() {
    let all = Published::all();
    assert_eq!(all.len(), 9);
    for data in all {
        let kind = crate::data::Kind::named(&data.name);
        assert!(kind.is_some(), "{} is no kind of --data", data.name);
        assert!(!data.files.is_empty());
        for file in &data.files {
            assert!(file.md5.len() == 32 && file.md5.bytes().all(|digit| digit.is_ascii_hexdigit()));
            assert!(!file.urls.is_empty() && !file.name().is_empty());
        }
    }
    let moved = all[0].clone().at("http://server/folder/");
    assert_eq!(moved.files[0].urls, ["http://server/folder/cifar-10-binary.tar.gz"]);
}

#[test]
fn a_server_that_breaks_off_is_asked_for_the_rest() {
    let bytes = content();
    let sent = bytes.clone();
    // Each of the first three answers is cut after 70 kB.
    let asked = std::sync::Arc::new(Mutex::new(Vec::new()));
    let starts = asked.clone();
    let server = serve(Box::new(move |count, _, start, stream| {
        starts.lock().unwrap().push(start);
        let start = start.unwrap_or(0);
        write!(
            stream,
            "HTTP/1.1 {}\r\nContent-Length: {}\r\nContent-Range: bytes {start}-{}/{}\r\n\r\n",
            if start > 0 { "206 Partial Content" } else { "200 OK" },
            sent.len() - start,
            sent.len() - 1,
            sent.len()
        )?;
        let end = if count < 3 { start + 70_000 } else { sent.len() };
        stream.write_all(&sent[start..end])
    }));
    let folder = tempfile::tempdir().unwrap();
    let published = data(&[server], &bytes);
    let fetched = get(&published, folder.path()).unwrap();
    assert_eq!(
        (&fetched.folder, fetched.was_there),
        (&folder.path().join("images"), false)
    );
    assert_eq!(fs::read(fetched.folder.join("all.bin")).unwrap(), bytes);
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 4, "{asked:?}");
    assert!(
        asked[0].is_none() && asked.is_sorted() && asked[3] > Some(100_000),
        "{asked:?}"
    );
    // Nothing else is left, and nothing is fetched again.
    let names: Vec<_> = fs::read_dir(&fetched.folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["all.bin"]);
    assert!(get(&published, folder.path()).unwrap().was_there);
}

#[test]
fn a_later_call_goes_on_and_a_server_without_ranges_begins_anew() {
    let bytes = content();
    let folder = tempfile::tempdir().unwrap();
    // It never sends the end.
    let sent = bytes.clone();
    let cut = serve(Box::new(move |_, _, start, stream| match start {
        None => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len())?;
            stream.write_all(&sent[..100_000])
        }
        Some(_) => write!(stream, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
    }));
    let error = get(&data(&[cut], &bytes), folder.path()).unwrap_err();
    assert!(matches!(error, FetchError::Server { .. }), "{error}");
    let partial = folder.path().join("images/all.bin.part");
    assert_eq!(fs::metadata(&partial).unwrap().len(), 100_000);
    let sent = bytes.clone();
    let ranges = serve(Box::new(move |_, _, start, stream| rest(&sent, start.unwrap(), stream)));
    let published = data(&[ranges], &bytes);
    assert_eq!(
        fs::read(get(&published, folder.path()).unwrap().folder.join("all.bin")).unwrap(),
        bytes
    );

    let other = tempfile::tempdir().unwrap();
    fs::create_dir(other.path().join("images")).unwrap();
    fs::write(other.path().join("images/all.bin.part"), [7; 1000]).unwrap();
    let sent = bytes.clone();
    let without = serve(Box::new(move |_, _, _, stream| whole(&sent, stream)));
    let fetched = get(&data(&[without], &bytes), other.path()).unwrap();
    assert_eq!(fs::read(fetched.folder.join("all.bin")).unwrap(), bytes);
}

#[test]
fn other_bytes_are_refused_and_the_next_address_is_tried() {
    let bytes = content();
    let page = || {
        serve(Box::new(|_, _, _, stream: &mut TcpStream| {
            whole(b"<html>Sign in</html>", stream)
        }))
    };
    let folder = tempfile::tempdir().unwrap();
    let error = get(&data(&[page()], &bytes), folder.path()).unwrap_err();
    assert!(matches!(error, FetchError::Sum { .. }), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");

    let missing = serve(Box::new(|_, _, _, stream: &mut TcpStream| {
        write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    }));
    let sent = bytes.clone();
    let good = serve(Box::new(move |_, path, start, stream| match (path, start) {
        // It lies at another address of the same server.
        ("/all.bin", _) => write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"
        ),
        (_, None) => whole(&sent, stream),
        (_, Some(start)) => rest(&sent, start, stream),
    }));
    let fetched = get(&data(&[page(), missing, good], &bytes), folder.path()).unwrap();
    assert_eq!(fs::read(fetched.folder.join("all.bin")).unwrap(), bytes);
}

#[test]
fn a_server_that_falls_silent_is_left() {
    let bytes = content();
    let sent = bytes.clone();
    let server = serve(Box::new(move |_, _, _, stream| {
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", sent.len())?;
        stream.write_all(&sent[..1000])?;
        std::thread::sleep(Duration::from_secs(60));
        Ok(())
    }));
    let folder = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let error = get(&data(&[server], &bytes), folder.path()).unwrap_err();
    assert!(matches!(error, FetchError::Server { .. }), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

/// A tar archive with one file, of any name.
fn tar_of(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_size(bytes.len() as u64);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    let mut archive = header.as_bytes().to_vec();
    archive.extend_from_slice(bytes);
    archive.resize(archive.len().next_multiple_of(512) + 1024, 0);
    archive
}

#[test]
fn archives_are_unpacked_below_their_folder_only() {
    let folder = tempfile::tempdir().unwrap();
    let unpacked = |archive: Vec<u8>| {
        let sum = hex(&Md5::digest(&archive));
        let server = serve(Box::new(move |_, _, _, stream| whole(&archive, stream)));
        let mut published = data(&[server], b"");
        let url = published.files[0].urls[0].replace("all.bin", "all.tar");
        published.files[0] = PublishedFile {
            urls: vec![url],
            md5: sum,
        };
        get(&published, folder.path())
    };
    let fetched = unpacked(tar_of("inside/data.bin", b"images")).unwrap();
    assert_eq!(fs::read(fetched.folder.join("inside/data.bin")).unwrap(), b"images");
    assert!(!fetched.folder.join("all.tar").exists());
    let error = unpacked(tar_of("../outside.bin", b"images")).unwrap_err();
    assert!(matches!(error, FetchError::Archive { .. }), "{error}");
    assert!(!folder.path().join("outside.bin").exists());
}
