//! `wasi:filesystem`, without files: as for preview 1, there is `/`, which is empty and read-only,
//! so that the log can report a guest that tries to use a file.
//!
//! Invariant: no descriptor of the host. All handles stand for `/`; they are numbers, and nothing is kept.

use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::p2::bindings::filesystem::preopens;
use wasmtime_wasi::p2::bindings::filesystem::types::{
    self, Advice, Descriptor, DescriptorFlags, DescriptorStat, DescriptorType, DirectoryEntry,
    DirectoryEntryStream, ErrorCode, Filesize, HostDescriptor, HostDirectoryEntryStream,
    MetadataHashValue, NewTimestamp, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, FsError, FsResult};

use super::super::super::guest::Guest;
use super::super::preview1::is_root;

/// The value of every handle: of `/`, and of streams over it.
const ROOT: u32 = 0;

type Handle = Resource<Descriptor>;

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    preopens::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    types::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
}

impl Guest {
    /// Logs that there is no file at `path`, and returns the error.
    fn without_file<T>(&mut self, path: &str, error: ErrorCode) -> FsResult<T> {
        self.channel_mut().tell_of_no_files(path.as_bytes());
        Err(error.into())
    }
}

/// The status of `/`.
fn status() -> DescriptorStat {
    DescriptorStat {
        type_: DescriptorType::Directory,
        link_count: 1,
        size: 0,
        data_access_timestamp: None,
        data_modification_timestamp: None,
        status_change_timestamp: None,
    }
}

impl preopens::Host for Guest {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Handle, String)>> {
        Ok(vec![(Resource::new_own(ROOT), "/".to_owned())])
    }
}

impl types::Host for Guest {
    fn convert_error_code(&mut self, error: FsError) -> wasmtime::Result<ErrorCode> {
        error.downcast()
    }

    fn filesystem_error_code(
        &mut self,
        _: Resource<wasmtime::Error>,
    ) -> wasmtime::Result<Option<ErrorCode>> {
        Ok(None)
    }
}

/// Calls on `/` itself.
impl HostDescriptor for Guest {
    async fn get_flags(&mut self, _: Handle) -> FsResult<DescriptorFlags> {
        Ok(DescriptorFlags::READ)
    }

    async fn get_type(&mut self, _: Handle) -> FsResult<DescriptorType> {
        Ok(DescriptorType::Directory)
    }

    async fn stat(&mut self, _: Handle) -> FsResult<DescriptorStat> {
        Ok(status())
    }

    async fn metadata_hash(&mut self, _: Handle) -> FsResult<MetadataHashValue> {
        Ok(MetadataHashValue { lower: 0, upper: 0 })
    }

    async fn is_same_object(&mut self, _: Handle, _: Handle) -> wasmtime::Result<bool> {
        Ok(true)
    }

    async fn read_directory(&mut self, _: Handle) -> FsResult<Resource<DirectoryEntryStream>> {
        Ok(Resource::new_own(ROOT))
    }

    fn drop(&mut self, _: Handle) -> wasmtime::Result<()> {
        Ok(())
    }

    async fn sync(&mut self, _: Handle) -> FsResult<()> {
        Ok(())
    }

    async fn sync_data(&mut self, _: Handle) -> FsResult<()> {
        Ok(())
    }

    async fn advise(&mut self, _: Handle, _: Filesize, _: Filesize, _: Advice) -> FsResult<()> {
        Err(ErrorCode::BadDescriptor.into())
    }

    async fn set_size(&mut self, _: Handle, _: Filesize) -> FsResult<()> {
        Err(ErrorCode::IsDirectory.into())
    }

    async fn set_times(&mut self, _: Handle, _: NewTimestamp, _: NewTimestamp) -> FsResult<()> {
        Err(ErrorCode::ReadOnly.into())
    }

    async fn read(&mut self, _: Handle, _: Filesize, _: Filesize) -> FsResult<(Vec<u8>, bool)> {
        Err(ErrorCode::IsDirectory.into())
    }

    async fn write(&mut self, _: Handle, _: Vec<u8>, _: Filesize) -> FsResult<Filesize> {
        Err(ErrorCode::IsDirectory.into())
    }

    fn read_via_stream(&mut self, _: Handle, _: Filesize) -> FsResult<Resource<DynInputStream>> {
        Err(ErrorCode::IsDirectory.into())
    }

    fn write_via_stream(&mut self, _: Handle, _: Filesize) -> FsResult<Resource<DynOutputStream>> {
        Err(ErrorCode::IsDirectory.into())
    }

    fn append_via_stream(&mut self, _: Handle) -> FsResult<Resource<DynOutputStream>> {
        Err(ErrorCode::IsDirectory.into())
    }

    // Calls on the entries of `/`.

    async fn open_at(
        &mut self,
        _: Handle,
        _: PathFlags,
        path: String,
        how: OpenFlags,
        _: DescriptorFlags,
    ) -> FsResult<Handle> {
        match path {
            path if is_root(path.as_bytes()) => Ok(Resource::new_own(ROOT)),
            path if how.contains(OpenFlags::CREATE) => {
                self.without_file(&path, ErrorCode::ReadOnly)
            }
            path => self.without_file(&path, ErrorCode::NoEntry),
        }
    }

    /// A status is not logged, because programs read the status of many paths.
    async fn stat_at(&mut self, _: Handle, _: PathFlags, path: String) -> FsResult<DescriptorStat> {
        if is_root(path.as_bytes()) { Ok(status()) } else { Err(ErrorCode::NoEntry.into()) }
    }

    async fn metadata_hash_at(
        &mut self,
        _: Handle,
        _: PathFlags,
        path: String,
    ) -> FsResult<MetadataHashValue> {
        match is_root(path.as_bytes()) {
            true => Ok(MetadataHashValue { lower: 0, upper: 0 }),
            false => Err(ErrorCode::NoEntry.into()),
        }
    }

    async fn readlink_at(&mut self, _: Handle, path: String) -> FsResult<String> {
        self.without_file(&path, ErrorCode::NoEntry)
    }

    async fn create_directory_at(&mut self, _: Handle, path: String) -> FsResult<()> {
        self.without_file(&path, ErrorCode::ReadOnly)
    }

    async fn set_times_at(
        &mut self,
        _: Handle,
        _: PathFlags,
        path: String,
        _: NewTimestamp,
        _: NewTimestamp,
    ) -> FsResult<()> {
        self.without_file(&path, ErrorCode::NoEntry)
    }

    async fn link_at(
        &mut self,
        _: Handle,
        _: PathFlags,
        path: String,
        _: Handle,
        _: String,
    ) -> FsResult<()> {
        self.without_file(&path, ErrorCode::NoEntry)
    }

    async fn remove_directory_at(&mut self, _: Handle, path: String) -> FsResult<()> {
        self.without_file(&path, ErrorCode::NoEntry)
    }

    async fn rename_at(&mut self, _: Handle, path: String, _: Handle, _: String) -> FsResult<()> {
        self.without_file(&path, ErrorCode::NoEntry)
    }

    async fn symlink_at(&mut self, _: Handle, _: String, path: String) -> FsResult<()> {
        self.without_file(&path, ErrorCode::ReadOnly)
    }

    async fn unlink_file_at(&mut self, _: Handle, path: String) -> FsResult<()> {
        self.without_file(&path, ErrorCode::NoEntry)
    }
}

impl HostDirectoryEntryStream for Guest {
    async fn read_directory_entry(
        &mut self,
        _: Resource<DirectoryEntryStream>,
    ) -> FsResult<Option<DirectoryEntry>> {
        Ok(None)
    }

    fn drop(&mut self, _: Resource<DirectoryEntryStream>) -> wasmtime::Result<()> {
        Ok(())
    }
}
