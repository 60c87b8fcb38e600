//! Room for the pod network beyond the embedded one (CNI, overlay, routes); there is none yet.
