//! Does `residua fetch` do what it promises, and is data found without a path?

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use serde_json::Value;

use crate::support::program::{printed, program};

/// A server that answers every request with this page; its address.
fn server(page: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let lines = BufReader::new(stream.try_clone().unwrap()).lines();
            lines
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .for_each(drop);
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                page.len()
            );
        }
    });
    address
}

#[test]
fn what_is_not_the_data_set_is_refused_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let output = program("residua")
        .args(["fetch", "cifar10", "--from", &server("<html>"), "--to"])
        .arg(folder.path())
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), error.lines().count()), (Some(1), 1), "{error}");
    assert!(
        error.contains("MD5") && error.contains("cifar-10-binary.tar.gz"),
        "{error}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");

    let output = program("residua").args(["fetch", "imagenet"]).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{error}");
    assert!(error.contains("'imagenet'") && error.contains("cifar10"), "{error}");

    let list: Value = serde_json::from_str(&printed(program("residua").args(["fetch", "--json"]))).unwrap();
    assert!(
        list["data"]
            .as_array()
            .unwrap()
            .iter()
            .any(|data| data["name"] == "mnist")
    );
}

#[test]
fn data_without_a_path_are_found_where_they_are_put() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let look = |place: &std::path::Path| {
        let mut command = program("residua");
        command
            .args(["data", "cifar10", "--json"])
            .current_dir(folder.path())
            .env("RESIDUA_DATA", place)
            .env("XDG_DATA_HOME", &nowhere)
            .env("HOME", &nowhere)
            .env("LOCALAPPDATA", &nowhere);
        command
    };
    let output = look(&nowhere).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{error}");
    assert!(error.contains("run `residua fetch cifar10`"), "{error}");
    // Two images in the binary form, in a folder as its publisher names it.
    let images = folder.path().join("there/cifar-10-batches-bin");
    fs::create_dir_all(&images).unwrap();
    for name in ["data_batch_1.bin", "test_batch.bin"] {
        fs::write(images.join(name), [1; 2 * 3073]).unwrap();
    }
    let found: Value = serde_json::from_str(&printed(&mut look(&folder.path().join("there")))).unwrap();
    assert_eq!(found["test"]["images"], 2);
    assert_eq!(found["data"], format!("cifar10:{}", images.display()));
}
