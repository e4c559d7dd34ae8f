/** English, for sending files. Loaded on demand. */
export default {
  attach_photo: "Photo or video",
  attach_file: "File",
  attachments: "Files to send",
  attachment_remove: "Remove {name}",
  attachment_preparing: "Preparing…",
  attachments_original: "Send pictures as files, with all their data",
  attachment_over_limit: "{name} is too large. A file can have at most {limit}.",
  attachment_empty: "{name} is empty.",
  attachment_unreadable: "{name} cannot be read as a picture. Send it as a file, or remove it.",
  attachment_folder: "Folders cannot be sent.",
  drop_here: "Drop to send to {name}",
  upload_part: "{part} of {size}",
  upload_paused: "Waiting for the connection",
  upload_cancel: "Cancel sending {name}",
  upload_volatile: "Keep this page open until {name} is sent: your browser has no room to store it.",
};
