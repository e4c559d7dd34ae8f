-- Old code runs on
-- The bytes of files, unless FILES keeps them in S3.

-- A blob is written once, in chunks of 256 KiB. Chunk -1 is the preview of an image.
create table file_chunks (
  blob text collate "C" not null,
  n int not null,
  data bytea not null,
  primary key (blob, n) -- also for finding the blobs without a file
);

-- Pictures and videos do not compress further. Out of line, so that sizes are read without the bytes.
alter table file_chunks alter column data set storage external;
