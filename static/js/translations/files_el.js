/** Greek, for files. Loaded on demand. */
export default {
  file_failed: "Η φωτογραφία δεν φορτώθηκε.",
  file_photo_open: "Άνοιγμα φωτογραφίας",
  file_download: "Λήψη",
  file_position: "Φωτογραφία {index} από {count}",
  file_from: "Φωτογραφία από {name}, {time}",
  file_zoom_in: "Μεγέθυνση",
  file_zoom_out: "Σμίκρυνση",
  file_previous: "Προηγούμενη φωτογραφία",
  file_next: "Επόμενη φωτογραφία",
  file_close: "Κλείσιμο",
};
