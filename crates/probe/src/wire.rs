//! One TCP connection with a budget in both directions.

use std::io;

use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::limits::Limits;

/// The budget of a dial is used up.
#[derive(Debug, Clone, Copy, thiserror::Error)]
pub(crate) enum Exhausted {
    #[error("the peer sent more than {0} bytes, which is the limit of one dial")]
    In(u32),
    #[error("more than {0} bytes would have to be sent, which is the limit of one dial")]
    Out(u32),
}

/// How the peer's TLS stream began: enough to recognise what is not TLS.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Head {
    bytes: [u8; 16],
    length: u8,
}

impl Head {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    fn note(&mut self, chunk: &[u8]) {
        for byte in chunk {
            let Some(slot) = self.bytes.get_mut(usize::from(self.length)) else { return };
            *slot = *byte;
            self.length += 1;
        }
    }
}

/// A connected socket that counts. Reading and writing never block; waiting is a separate step, and timed by the caller.
pub(crate) struct Wire {
    stream: TcpStream,
    limits: Limits,
    received: u32,
    sent: u32,
    pub(crate) head: Head,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, limits: Limits) -> Wire {
        Wire { stream, limits, received: 0, sent: 0, head: Head::default() }
    }

    /// How many bytes have come in so far.
    pub(crate) fn received(&self) -> u32 {
        self.received
    }

    pub(crate) fn local_ip(&self) -> io::Result<std::net::IpAddr> {
        Ok(self.stream.local_addr()?.ip())
    }

    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.stream.readable().await
    }

    pub(crate) async fn writable(&self) -> io::Result<()> {
        self.stream.writable().await
    }

    /// Reads what is there; 0 at the end of the stream.
    pub(crate) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.stream.readable().await?;
            match io::Read::read(self, buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    pub(crate) async fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match io::Write::write(self, bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.stream.writable().await?,
                other => bytes = bytes.get(other?..).unwrap_or_default(),
            }
        }
        Ok(())
    }

    /// Ends our direction: FIN.
    pub(crate) async fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }
}

impl io::Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.limits.bytes_in - self.received;
        if left == 0 {
            return Err(io::Error::other(Exhausted::In(self.limits.bytes_in)));
        }
        let room = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let count = self.stream.try_read(&mut buffer[..room])?;
        self.head.note(&buffer[..count]);
        self.received += u32::try_from(count).unwrap_or(left);
        Ok(count)
    }
}

impl io::Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[io::IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, parts: &[io::IoSlice<'_>]) -> io::Result<usize> {
        let wanted: usize = parts.iter().map(|part| part.len()).sum();
        let left = self.limits.bytes_out - self.sent;
        if u32::try_from(wanted).map_or(true, |wanted| wanted > left) {
            return Err(io::Error::other(Exhausted::Out(self.limits.bytes_out)));
        }
        let count = self.stream.try_write_vectored(parts)?;
        self.sent += u32::try_from(count).unwrap_or(left);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
