//! How is one file got from a server that may break off, lie or redirect?

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;

use md5::{Digest, Md5};
use ureq::Agent;
use ureq::http::{Response, StatusCode, header};

use super::{FetchError, FetchProgress, Patience, PublishedFile};
use crate::hex::hex;
use crate::stop::StopToken;

/// Bytes that are read and written at once.
const CHUNK: usize = 1 << 16;

/// Gets `file` to `path`, from the first of its addresses that has it.
pub(super) fn file(
    file: &PublishedFile,
    path: &Path,
    patience: &Patience,
    stop: &StopToken,
    listener: &mut dyn FnMut(FetchProgress),
) -> Result<(), FetchError> {
    let mut result = Ok(());
    for url in &file.urls {
        let mut download = Download {
            url,
            name: file.name(),
            partial: PathBuf::from(format!("{}.part", path.display())),
            patience,
            stop,
            listener,
        };
        result = download.run(&file.md5, path);
        match &result {
            Err(error) if error.may_help_elsewhere() => continue,
            _ => return result,
        }
    }
    result
}

struct Download<'a> {
    url: &'a str,
    name: &'a str,
    /// What has arrived so far, also in earlier calls.
    partial: PathBuf,
    patience: &'a Patience,
    stop: &'a StopToken,
    listener: &'a mut dyn FnMut(FetchProgress),
}

/// How a connection ended.
enum End {
    /// All bytes are there, as far as the server says.
    Complete,
    /// It broke off; there may be more bytes than before.
    Broken(String),
}

impl Download<'_> {
    fn run(&mut self, md5: &str, path: &Path) -> Result<(), FetchError> {
        let mut failures = 0;
        loop {
            let before = self.arrived();
            match self.connect(before)? {
                End::Complete => break,
                End::Broken(_) if self.arrived() > before => failures = 0,
                End::Broken(problem) if failures + 1 >= self.patience.attempts => {
                    return Err(FetchError::Server {
                        url: self.url.to_owned(),
                        problem,
                    });
                }
                End::Broken(_) => {
                    failures += 1;
                    thread::sleep(self.patience.pause * 2_u32.saturating_pow(failures - 1));
                }
            }
        }
        (self.listener)(FetchProgress::Checking { file: self.name });
        let found = self.sum().map_err(|source| self.write_error(source))?;
        if found != md5 {
            let removed = fs::remove_file(&self.partial);
            removed.map_err(|source| self.write_error(source))?;
            return Err(FetchError::Sum {
                url: self.url.to_owned(),
                found,
                wanted: md5.to_owned(),
            });
        }
        fs::rename(&self.partial, path).map_err(|source| self.write_error(source))
    }

    /// The bytes that are here.
    fn arrived(&self) -> u64 {
        fs::metadata(&self.partial).map_or(0, |found| found.len())
    }

    /// One connection: asks for the bytes from `start` on, and appends what comes.
    fn connect(&mut self, start: u64) -> Result<End, FetchError> {
        let silence = Some(self.patience.silence);
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(silence)
            .timeout_recv_response(silence)
            .build()
            .into();
        let mut request = agent.get(self.url);
        if start > 0 {
            request = request.header(header::RANGE, format!("bytes={start}-"));
        }
        let response = match request.call() {
            Ok(response) => response,
            Err(error) => return Ok(End::Broken(error.to_string())),
        };
        let at = match response.status() {
            StatusCode::OK => 0,
            StatusCode::PARTIAL_CONTENT if first_byte(&response) == Some(start) => start,
            // More bytes are here than the file has, or as many: the sum decides.
            StatusCode::RANGE_NOT_SATISFIABLE if start > 0 => return Ok(End::Complete),
            status if status.is_server_error() => return Ok(End::Broken(format!("the server answers {status}"))),
            status => {
                return Err(FetchError::Status {
                    url: self.url.to_owned(),
                    status: status.as_u16(),
                });
            }
        };
        let length = response.headers().get(header::CONTENT_LENGTH);
        let length: Option<u64> = length.and_then(|value| value.to_str().ok()?.parse().ok());
        let of = length.map(|length| at + length);
        let partial = File::options()
            .create(true)
            .append(at > 0)
            .write(true)
            .truncate(at == 0)
            .open(&self.partial);
        let mut partial = partial.map_err(|source| self.write_error(source))?;
        let chunks = in_background(response.into_body().into_reader());
        let mut bytes = at;
        let end = loop {
            if self.stop.is_stopped() {
                return Err(FetchError::Stopped);
            }
            match chunks.recv_timeout(self.patience.silence) {
                Ok(Ok(chunk)) if chunk.is_empty() => break End::Complete,
                Ok(Ok(chunk)) => {
                    partial.write_all(&chunk).map_err(|source| self.write_error(source))?;
                    bytes += chunk.len() as u64;
                    let file = self.name;
                    (self.listener)(FetchProgress::Downloading { file, bytes, of });
                }
                Ok(Err(error)) => break End::Broken(error.to_string()),
                Err(RecvTimeoutError::Timeout) => break End::Broken("the server sends nothing more".to_owned()),
                Err(RecvTimeoutError::Disconnected) => break End::Broken("the connection broke off".to_owned()),
            }
        };
        Ok(match (end, of) {
            (End::Complete, Some(of)) if bytes < of => {
                End::Broken(format!("the connection broke off after {bytes} of {of} bytes"))
            }
            (end, _) => end,
        })
    }

    /// The MD5 sum of what has arrived.
    fn sum(&self) -> io::Result<String> {
        let mut file = File::open(&self.partial)?;
        let (mut sum, mut chunk) = (Md5::new(), vec![0; CHUNK]);
        loop {
            let count = file.read(&mut chunk)?;
            if count == 0 {
                return Ok(hex(&sum.finalize()));
            }
            sum.update(&chunk[..count]);
        }
    }

    fn write_error(&self, source: io::Error) -> FetchError {
        FetchError::Write {
            path: self.partial.clone(),
            source,
        }
    }
}

/// The first byte of a part, by the header `Content-Range: bytes FIRST-LAST/ALL`.
fn first_byte<T>(response: &Response<T>) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    let (first, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    first.trim().parse().ok()
}

/// Reads in a thread of its own, so that a server that sends nothing can be left;
/// an empty chunk is the end. The thread ends with the connection.
fn in_background(mut reader: impl Read + Send + 'static) -> Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::sync_channel(8);
    thread::spawn(move || {
        loop {
            let mut chunk = vec![0; CHUNK];
            let read = reader.read(&mut chunk);
            let is_last = !matches!(read, Ok(count) if count > 0);
            let read = read.map(|count| {
                chunk.truncate(count);
                chunk
            });
            if sender.send(read).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}
