/** Greek, for sending files. Loaded on demand. */
export default {
  attach_photo: "Φωτογραφία ή βίντεο",
  attach_file: "Αρχείο",
  attachments: "Αρχεία προς αποστολή",
  attachment_remove: "Αφαίρεση: {name}",
  attachment_preparing: "Προετοιμασία…",
  attachments_original: "Αποστολή των εικόνων ως αρχεία, με όλα τα στοιχεία τους",
  attachment_over_limit: "Πολύ μεγάλο αρχείο: {name}. Το όριο είναι {limit}.",
  attachment_empty: "Κενό αρχείο: {name}.",
  attachment_unreadable: "Η εικόνα {name} δεν διαβάζεται. Στείλ’ την ως αρχείο ή αφαίρεσέ την.",
  attachment_folder: "Οι φάκελοι δεν στέλνονται.",
  drop_here: "Άφησέ το εδώ για αποστολή: {name}",
  upload_part: "{part} από {size}",
  upload_paused: "Αναμονή για σύνδεση",
  upload_cancel: "Ακύρωση αποστολής: {name}",
  upload_volatile: "Κράτα τη σελίδα ανοιχτή μέχρι να σταλεί: {name}. Δεν υπάρχει χώρος για αποθήκευση.",
};
