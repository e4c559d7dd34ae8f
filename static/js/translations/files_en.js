/** English, for files. Loaded on demand. */
export default {
  file_failed: "This picture could not be loaded.",
  file_photo_open: "Open the photo",
  file_download: "Download",
  file_position: "Photo {index} of {count}",
  file_from: "Photo from {name}, {time}",
  file_zoom_in: "Zoom in",
  file_zoom_out: "Zoom out",
  file_previous: "Previous photo",
  file_next: "Next photo",
  file_close: "Close",
};
