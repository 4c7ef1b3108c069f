//! Reading past interruptions.

use std::io::{self, ErrorKind, Read};

/// What comes next; 0 at the end.
///
/// A read from a socket with a timeout is interrupted when its process is stopped and continued, as a guest's processes
/// are; the connection is as good as before.
pub fn read_some(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Stopped(bool);

    impl Read for Stopped {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if std::mem::replace(&mut self.0, false) {
                return Err(ErrorKind::Interrupted.into());
            }
            buffer[0] = 7;
            Ok(1)
        }
    }

    #[test]
    fn an_interrupted_read_is_repeated() {
        let mut buffer = [0; 4];
        assert_eq!(read_some(&mut Stopped(true), &mut buffer).unwrap(), 1);
        assert_eq!(buffer[0], 7);
    }
}
